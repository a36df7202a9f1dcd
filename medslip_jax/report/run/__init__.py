"""The HTML page on a run."""
