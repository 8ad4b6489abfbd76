"""Chest films from disk, checked for what they show and calibrated to line integrals."""
