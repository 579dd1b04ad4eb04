"""Estimators of information from samples."""
