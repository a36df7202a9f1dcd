"""From plans of splits to ArrayRecord files, in several processes or on Beam."""
