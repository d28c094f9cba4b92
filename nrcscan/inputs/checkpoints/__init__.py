"""Checkpoints: recognised by content, opened as data, one module per form."""
