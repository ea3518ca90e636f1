"""Reads a MONAI bundle without running it, and writes the overlay that hardens its training."""
