"""Pairs of a template and a search crop, and the processes that make them."""
