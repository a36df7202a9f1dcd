"""PyTorch's names and files, and the network in PyTorch."""
