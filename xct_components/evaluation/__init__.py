"""Held-out CTs through the cascade, beside baselines: what `xct evaluate` computes and writes."""
