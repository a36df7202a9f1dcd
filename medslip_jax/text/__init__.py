"""Prompts -> BERT -> the two text tables."""
