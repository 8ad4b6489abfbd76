"""What the training of a stage minimises: one file per loss, and their weighted sum."""
