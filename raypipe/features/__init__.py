"""Features with point-in-time correctness: views, the two-clock join, transforms. Pure."""
