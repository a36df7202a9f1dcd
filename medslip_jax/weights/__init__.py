"""A model that travels: read, written, matched with a config."""
