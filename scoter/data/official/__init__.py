"""Public datasets from their official files."""
