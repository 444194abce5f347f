"""Whether what arrives still looks like what was learned from, and what follows from that. Pure."""
