"""Training a stage with MONAI's engines: batches, the step, statistics, weight averages, released weights."""
