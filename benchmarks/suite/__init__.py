"""Datasets x methods x seeds: what is run, and how its results are collected."""
