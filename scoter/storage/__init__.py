"""Artefacts by content, vectors of sentences, and readers of what others wrote."""
