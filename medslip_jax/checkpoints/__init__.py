"""A run's checkpoints; the only room that knows Orbax."""
