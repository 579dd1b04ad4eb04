"""Recommenders put together from backbone, semantic IDs and chains; fit, recommend, save, load."""
