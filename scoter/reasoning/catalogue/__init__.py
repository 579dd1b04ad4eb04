"""The symbolic reasoner: counts over a training log, spoken as sentences."""
