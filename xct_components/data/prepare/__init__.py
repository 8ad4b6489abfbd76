"""CTs made ready for the cascade: the patient alone, centred, resampled, listed and split."""
