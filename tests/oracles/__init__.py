"""Independent ways to compute what the package computes."""
