"""The network of a stage: film encoder, depth lifting, hybrid voxel transformer, and the stage that joins them to physics."""
