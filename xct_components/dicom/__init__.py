"""DICOM objects that leave the project."""
