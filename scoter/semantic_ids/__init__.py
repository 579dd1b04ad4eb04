"""Item vectors to short, unique tuples of codes."""
