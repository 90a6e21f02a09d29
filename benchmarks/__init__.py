"""The figures of Roo: `python -m benchmarks` from the top of the checkout."""
