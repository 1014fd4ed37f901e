"""Training of SiamFC: classification first, then matching."""
