"""A Dart network that is small enough to run in a millisecond."""

import torch

from siamedge.export.families.dart import METADATA_KEY, Dart, DartConfig
from siamedge.export.families.dart_source import build
from siamedge.export.families.source import Checkpoint, SourceNetwork

CONFIG = DartConfig(layers=((8, 2), (8, 2), (16, 2)), channels=8, head=8, tower=1, template_px=32, search_px=64)


def make_weights() -> Dart:
    """Random weights, the same each time."""
    torch.manual_seed(3)
    return Dart(CONFIG)


def make_network(weights: Dart | None = None) -> SourceNetwork:
    """The two graphs of these weights, or of make_weights."""
    return build(Checkpoint((weights or make_weights()).state_dict(), {METADATA_KEY: CONFIG.to_json()}))
