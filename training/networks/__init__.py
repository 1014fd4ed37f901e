"""What training adds to a network: branches, rounding, growth, and the losses against the truth."""
