"""How the default weights were made, reproducibly."""
