"""How good a model is: protocols, scoring a split, zero-shot, grounding, results on disk."""
