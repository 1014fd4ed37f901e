"""Learning from a published tracker: what it makes of a pair, and the losses against that."""
