"""What `medslip bench` measures: the train step and inference beside PyTorch, and how they grow."""
