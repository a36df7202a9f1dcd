"""The grain pipeline, augmentation, fine-tuning targets, subsets."""
