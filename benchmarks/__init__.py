"""Our library beside its peers, measured in one process: `python -m benchmarks`."""
