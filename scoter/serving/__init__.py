"""Answers from a finished run or a bundle, and their explanations."""
