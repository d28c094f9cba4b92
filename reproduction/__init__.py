"""The paper's findings on networks trained here; `python -m reproduction`."""
