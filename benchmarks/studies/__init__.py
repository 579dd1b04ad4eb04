"""Measurements beside the main tables, each with its command and its page."""
