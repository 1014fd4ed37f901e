"""The way to a device: commands on it, and calls of the side of siamedge that runs there."""
