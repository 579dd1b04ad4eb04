"""Chains of reasoning: which prefixes have one, what it says, whether it leaks."""
