"""Benchmark runs as committed data, and the tables made from them."""
