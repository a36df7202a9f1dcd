"""Losses, optimiser and the training step: pure functions and their jit shell (SPEC 4 and 5)."""
