"""Diffusion as pure functions: a noise schedule in continuous time and samplers; the network is a callable."""
