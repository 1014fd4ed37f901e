"""The siamedge command: one module a command."""
