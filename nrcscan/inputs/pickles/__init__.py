"""Reads pickles as data: nothing in them is imported, built or run."""
