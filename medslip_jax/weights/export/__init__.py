"""A model as StableHLO and ONNX, for serving."""
