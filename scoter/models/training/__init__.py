"""Batches, precision, processes, and the one training loop."""
