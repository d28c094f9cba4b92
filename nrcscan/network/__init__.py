"""A network: built or inferred, its layers found, run, and what reaches them captured."""
