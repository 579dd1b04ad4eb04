"""What each figure draws, from committed results."""
