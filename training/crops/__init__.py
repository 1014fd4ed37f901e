"""The pictures that are trained on: crops of objects and tracks, where they come from, and how they are changed."""
