"""Pre-training: its data, its fixed parts, its validation."""
