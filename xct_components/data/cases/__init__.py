"""Training cases: prepared CTs and phantoms, changed and exposed by chance that can be repeated."""
