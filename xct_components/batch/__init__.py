"""Many films in one run: found in a folder, shared between processes, each on its own, with one summary of all."""
