"""Films out of a PACS, and what is made of them back into one: DICOMweb and C-STORE."""
