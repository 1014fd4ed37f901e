"""A Dart network that is small enough to run in a millisecond."""

import torch

from siamedge.export.families.dart import METADATA_KEY, Dart, DartConfig
from siamedge.export.families.dart_source import build
from siamedge.export.families.source import Checkpoint, SourceNetwork

CONFIG = DartConfig(layers=((8, 2), (8, 2), (16, 2)), channels=8, head=8, tower=1, template_px=32, search_px=64)


def make_network() -> SourceNetwork:
    """Random weights, the same each time."""
    torch.manual_seed(3)
    return build(Checkpoint(Dart(CONFIG).state_dict(), {METADATA_KEY: CONFIG.to_json()}))
