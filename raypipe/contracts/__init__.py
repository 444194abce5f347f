"""Data contracts: what a source promises, and the rows that keep the promise. Pure."""
