"""Time and memory as data grow."""
