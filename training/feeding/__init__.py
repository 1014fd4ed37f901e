"""What a run is fed with: pairs of its crops, pairs that are kept, pairs that judge it."""
