"""The trackers: crops, responses, boxes, and whether the target is there."""
