"""What a test may say about a simulated error rate."""

import math


def is_above(count, of, rate):
    """Whether so many errors are too many for a rate: a chance of less than 1e-4 (exact binomial tail)."""
    tail = sum(math.comb(of, k) * rate**k * (1 - rate) ** (of - k) for k in range(count, of + 1))
    return tail < 1e-4
