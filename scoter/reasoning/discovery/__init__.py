"""Generate, validate and mine a reasoning pattern."""
