"""Inference as MONAI inferers: one stage with its sampler, columns and consistency, and the cascade of them."""
