"""CTs and films: read, simulate, write. Importing this package is cheap; its readers load their libraries when used."""
