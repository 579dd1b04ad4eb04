"""Attempts to break scoter: kills, faults of disk and files, hostile input, and whether equal seeds
give equal bytes."""
