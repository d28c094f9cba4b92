"""What is added up of a stream of samples: moments, sketches of them, sums on a GPU."""
