"""Rankings and targets to numbers with intervals. Sees no model."""
