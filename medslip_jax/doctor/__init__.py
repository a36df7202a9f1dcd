"""`medslip doctor`: what is here, does it work, and what to do about it; without network."""
