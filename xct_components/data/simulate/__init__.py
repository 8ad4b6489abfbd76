"""Chest films computed from CTs, and the files that hold them."""
