"""Proof that an exported pair computes what its source network computes."""
