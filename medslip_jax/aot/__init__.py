"""The step compiled for chips that are not here, and what XLA says of it."""
