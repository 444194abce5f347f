"""Measurements that can be repeated: `python -m benchmarks.<name>`, from the root of the repository."""
