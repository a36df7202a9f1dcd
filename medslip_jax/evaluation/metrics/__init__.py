"""Numbers from scores and truth, with intervals over patients; scikit-learn and NumPy, no model."""
