"""The config of a run: the default tree, files, overrides, and its sections as dataclasses."""
