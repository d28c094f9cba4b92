"""One pass of a dataset through a network, into a file."""
