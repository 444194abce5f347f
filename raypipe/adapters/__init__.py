"""The only importers of the outside world. Adapters import each other never, `adapters.lake` excepted."""
