"""xct: one chest X-ray film in, one 3-D chest CT volume out. Importing this package runs nothing."""

__version__ = "0.1.0"
