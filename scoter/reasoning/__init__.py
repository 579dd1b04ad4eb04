"""Patterns and chains: generate, validate, mine, write. The sentences come from a symbolic stand-in
for a language model."""
