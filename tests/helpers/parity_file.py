"""Makes medslip_jax/assets/parity.npz from the golden file: `python tests/helpers/parity_file.py`."""

import zlib

import numpy as np
from places import GOLDEN, ROOT

PARITY = ROOT / "medslip_jax" / "assets" / "parity.npz"


def parity_arrays() -> dict[str, np.ndarray]:
    """Of the evaluation mode: labels, candidates and losses, and outputs, of the larger ones a part."""
    with np.load(GOLDEN / "resnet50.npz") as golden:
        arrays = {
            "matrix": golden["matrix"],
            "losses": golden["eval/losses"],
            "gradient_names": golden["eval/grad_names"],
            "gradient_norms": golden["eval/grad_norms"],
            "image_crc": np.array(zlib.crc32(golden["image"].tobytes()), np.int64),
        }
        for stream in ("pathology", "anatomy"):
            arrays[f"index_{stream}"] = golden[f"index_{stream}"]
            arrays[f"logits_{stream}"] = golden[f"eval/logits_{stream}"]
            arrays[f"features_{stream}"] = golden[f"eval/features_{stream}"][:1]
            arrays[f"attention_{stream}"] = golden[f"eval/attention_{stream}"][:1, -1:]
        return arrays


if __name__ == "__main__":
    np.savez_compressed(PARITY, **parity_arrays())
