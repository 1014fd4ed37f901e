"""Tracker families: the networks, how a checkpoint is recognised, and what its tracker needs to know."""
