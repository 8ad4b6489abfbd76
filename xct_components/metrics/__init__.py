"""How a volume is judged: plain functions of arrays, each with its definition, range and source (docs/metrics.md)."""
