"""What several data sets read alike: lists, CSV rows, cases, X-rays, official splits."""
