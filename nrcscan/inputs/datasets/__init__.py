"""Datasets: recognised by content, streamed in order, one module per form."""
