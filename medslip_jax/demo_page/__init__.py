"""The Gradio page behind `medslip serve`."""
