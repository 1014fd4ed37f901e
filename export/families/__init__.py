"""Tracker families: the networks, how a checkpoint is recognised, and what its tracker needs to know."""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
"""What siamedge brings along: the default's weights, crops to calibrate it on, and how its scores tell presence."""
