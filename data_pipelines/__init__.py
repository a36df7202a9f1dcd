"""From downloads to batches: data sets, reports, images, loaders. Knows no device and no model."""
