"""Physics of a radiograph as pure functions: attenuation, projection, film formation, consistency."""
