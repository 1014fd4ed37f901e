"""A run: its steps, schedule, weight average, files and log."""
