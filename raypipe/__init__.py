"""From raw events to a model that earned its traffic, on one Ray cluster, from one file."""

__version__ = "0.1.0"
__all__ = ["__version__"]
