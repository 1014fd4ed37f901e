"""Workstation side: checkpoint -> networks -> models -> quantization -> verification -> bundle."""
