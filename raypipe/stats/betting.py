"""Bets against a mean: confidence sequences of bounded observations, from counts alone. Knows counts, not their origin.

An observation X of weight w lies in a known interval. Who bets λ against "the mean of X is at most m w" multiplies a
wealth of 1 by 1 + λ (X - m w) at each (Waudby-Smith and Ramdas, "Estimating means of bounded random variables by
betting", JRSS-B 86(1), 2024, section 4). Here every λ is fixed beforehand and the wealth is shared among a few of them
(their section 5, "convex combinations"). So the wealth depends on *how often* each value was seen and not on the order:
counts are all the memory there is, counts of several replicas add up, and one set of counts can be judged at any m.

**Guarantee, without stationarity.** Let μ_i = E[X_i | past]. Then N_t = Π (1 + λ (X_i - m w_i)) / (1 + λ (μ_i - m w_i))
is a nonnegative martingale that starts at 1. Whenever Σ μ_i <= m Σ w_i, the inequality of arithmetic and geometric
means gives Π (1 + λ (μ_i - m w_i)) <= 1, and the wealth is at most N_t. So the probability that the wealth ever reaches
1/α at a moment at which the weighted mean so far, Σ μ_i / Σ w_i, is at most m is at most α (Ville's inequality; sums
over λ keep it). Means may change with time and with the past.

Where a bet would risk more than everything in some stratum, it is lowered there (`CAUTION`). A bet that is lowered in
one stratum and not in another weights them differently: the statement is then about strata, "the mean so far of at
least one stratum exceeds m". Bets on the mean being *below* m are never lowered.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raypipe.stats.sequential import Interval

Floats = npt.NDArray[np.float64]

# Share of the wealth that a single observation may take: with 1 a bet could be ruined for ever.
CAUTION = 0.95
# λ from 16 down by factors of 2 to 2e-6. A bet is best near (true mean - m) / variance: the lowest serves 10^9
# observations.
LAMBDAS = 16.0 * 2.0 ** -np.arange(24)
_STEPS = 60


@dataclass(frozen=True, slots=True)
class Cells:
    """The values that observations can take, with the interval that each was known to lie in.

    Parameters
    ----------
    values
        Shape (c,): X of each cell.
    weights
        Shape (c,): w of each cell, 0..1; the mean of X is judged in units of it.
    low, high
        Shape (c,): what X could have been at least and at most in its stratum; `high` is at most 1.
    """

    values: Floats
    weights: Floats
    low: Floats
    high: Floats

    def mirrored(self) -> Cells:
        """Return the cells of -X."""
        return Cells(-self.values, self.weights, -self.high, -self.low)


def log_wealth(cells: Cells, counts: npt.ArrayLike, mean: float, *, typical: float = 1.0) -> Floats:
    """Return the log of the wealth of bets on the mean being above `mean`.

    While the mean so far is at most `mean`, it ever exceeds log(1/α) with probability at most α.

    Parameters
    ----------
    counts
        Shape (..., c): how often each cell was seen; fractions are fine (`stats.tally`).
    mean
        m, in units of the weight.
    typical
        λ about which most of the wealth is bet: (harm - m) / variance of the harms that matter. Any is valid.

    Examples
    --------
    Ten heads and no tail against a chance of one half; the largest bet alone would have won 1.95 ** 10:

    >>> coin = Cells(np.array([1.0, 0.0]), np.ones(2), np.zeros(2), np.ones(2))
    >>> round(float(log_wealth(coin, [10, 0], 0.5)), 2)
    5.51
    >>> float(log_wealth(coin, [0, 0], 0.5))
    0.0

    A billion fair tosses win nothing, one more in a thousand wins surely:

    >>> float(log_wealth(coin, [5e8, 5e8], 0.5)) < 0 < float(log_wealth(coin, [5.005e8, 4.995e8], 0.5)) - 400
    True
    """
    risk = np.maximum(mean * cells.weights - cells.low, np.finfo(np.float64).tiny)
    bets = np.minimum(LAMBDAS, (CAUTION / risk)[:, None])
    return _mixed(counts, bets * (cells.values - mean * cells.weights)[:, None], typical)


def log_wealth_below(cells: Cells, counts: npt.ArrayLike, mean: float, *, typical: float = 1.0) -> Floats:
    """Return the log of the wealth of bets on the mean being below `mean`, at least 0; λ is the same in all strata.

    Examples
    --------
    Without an error, 300 requests do not settle that fewer than 1 % fail, and 700 do; by 95 % of the wealth on λ near 1
    it takes about log(20) / 0.01:

    >>> requests = Cells(np.array([0.0]), np.ones(1), np.zeros(1), np.ones(1))
    >>> [bool(log_wealth_below(requests, [n], 0.01) >= math.log(20)) for n in (300, 700)]
    [False, True]
    """
    risk = max(1.0, float((cells.high - mean * cells.weights).max(initial=1.0)))
    bets = np.minimum(LAMBDAS, CAUTION / risk)
    return _mixed(counts, bets * (mean * cells.weights - cells.values)[:, None], typical)


def bounds(
    cells: Cells, counts: npt.ArrayLike, *, alpha_lower: float, alpha_upper: float, typical: float = 1.0
) -> Interval:
    """Return bounds of Σ μ / Σ w that hold at all times at once; within [-1, 1].

    The lower bound is ever above it with probability at most `alpha_lower`, the upper one ever below with at most
    `alpha_upper`. Both are where the wealth of a bet reaches 1/α, and the wealth falls (rises) with m.

    Examples
    --------
    >>> coin = Cells(np.array([1.0, 0.0]), np.ones(2), np.zeros(2), np.ones(2))
    >>> found = bounds(coin, [700, 300], alpha_lower=0.05, alpha_upper=0.05)
    >>> round(found.lower, 3), round(found.upper, 3)
    (0.651, 0.746)
    >>> bounds(coin, [0, 0], alpha_lower=0.05, alpha_upper=0.05)
    Interval(lower=-1.0, upper=1.0)
    """
    counted = np.asarray(counts, np.float64)

    def won(mean: float) -> bool:
        return float(log_wealth(cells, counted, mean, typical=typical)) >= -math.log(alpha_lower)

    def lost(mean: float) -> bool:
        return float(log_wealth_below(cells, counted, mean, typical=typical)) < -math.log(alpha_upper)

    lower = _last(won, -1.0, 1.0) if won(-1.0) else -1.0
    upper = _last(lost, -1.0, 1.0) if lost(-1.0) and not lost(1.0) else 1.0
    return Interval(lower, upper)


def shares_of_wealth(typical: float) -> Floats:
    """Return how much of the wealth is bet with each of `LAMBDAS`: most near the typical one, and enough on any other.

    It falls with the square of how many factors of two lie between: heavy tails, so that no size of harm is neglected.
    """
    shares = 1.0 / (2.0 + np.abs(np.log2(LAMBDAS / typical))) ** 2
    found: Floats = shares / shares.sum()
    return found


def _mixed(counts: npt.ArrayLike, gains: Floats, typical: float) -> Floats:
    """Return the log of the shared wealth: `counts` (..., c), and gains (c, λ) above -1."""
    exponents = np.asarray(counts, np.float64) @ np.log1p(gains) + np.log(shares_of_wealth(typical))
    top = exponents.max(axis=-1)
    found: Floats = top + np.log(np.exp(exponents - top[..., None]).sum(axis=-1))
    return found


def _last(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Return where a condition that holds at `low` ends."""
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
