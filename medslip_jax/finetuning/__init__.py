"""A classifier or a U-Net from pre-trained weights."""
