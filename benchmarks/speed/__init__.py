"""Speed side by side with what people use: `python -m benchmarks.speed [--quick] [--json]`."""
