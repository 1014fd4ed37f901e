"""Writing a bundle: what its manifest says, and its files."""
