"""Crops that a network sees: chosen, cut from videos by its own tracker, kept as sets."""
