"""Patterns and chains: generate, validate, mine, write."""
