"""Files: written whole or not at all, hashes, tensors on disk, the Hugging Face hub."""
