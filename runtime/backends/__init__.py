"""What computes a network: the libraries and their devices."""
