"""Where the weights lie that siamedge brings along."""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
"""The default's weights, crops to calibrate it on, and how the scores of known weights tell presence."""
