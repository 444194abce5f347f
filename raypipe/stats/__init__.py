"""Metrics and statistics on plain arrays. Pure."""
