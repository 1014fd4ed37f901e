"""Trained weights: fetching published ones, and finding out what a file holds."""
