"""The two graphs of a tracker as they are exported, and what is done to the files of each format."""
