"""The packed models of a tracker: what is in a bundle, and which of it to run here."""
