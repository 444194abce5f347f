"""Releases: what is planned, where it stands, what to do next. Pure."""
