"""Accuracy of trackers on annotated sequences: reading data sets, running, scoring by named conventions, reporting."""
