"""Every number of a training run, as data."""
