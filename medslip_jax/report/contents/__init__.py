"""The HTML page on a data set."""
