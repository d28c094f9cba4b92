"""The quantities of a layer: which there are, when they are undefined, and how exact."""
