"""Two small networks with their data, to see what nrcscan finds before there is one's own."""
