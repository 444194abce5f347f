"""Empirical Bernstein confidence sequences: intervals that hold at every look at once, from two sums.

They are what `stats.betting`, which decides, is measured against. Knows sums of bounded observations; does not know
what was observed.

For observations X in an interval of length 1, predictions of them made before each (here: the mean so far), and any
0 < λ < 1, the process exp(λ Σ(X - E[X | past]) - ψ(λ) V) with V = Σ(X - prediction)² and ψ(λ) = -log(1 - λ) - λ is a
supermartingale that starts at 1 (Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic
confidence sequences", Annals of Statistics 49(2), 2021, theorem 4 and its proof). A mixture of such processes with
fixed weights is one too, and exceeds 1/α anywhere with probability at most α (Ville's inequality).

Sums of several processes add up: each increment's prediction uses only what its own process saw before, which is part
of the joint past, so the sum of all increments is one such process in the order in which they happened.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# λ from 0.9 down by factors of √2: the lowest serves V up to about 10^7.
_LAMBDAS = 0.9 * 2.0 ** (-0.5 * np.arange(28))
# Falls slowly, so that no order of magnitude of V is neglected; sums to 1.
_WEIGHTS = 1.0 / (np.arange(28) + 6.0) ** 1.4
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_PSI = -np.log1p(-_LAMBDAS) - _LAMBDAS
_LOG_WEIGHTS = np.log(_WEIGHTS)
# Of the stitched boundary; the last is Riemann's zeta at s.
_ETA, _S, _ZETA_S = 2.0, 1.4, 3.105547


@dataclass(frozen=True, slots=True)
class Interval:
    """Bounds of a mean; infinite where nothing is known."""

    lower: float
    upper: float


def log_wealth(excess: npt.ArrayLike, variation: npt.ArrayLike) -> Floats:
    """Return the log of the mixture at Σ(X - μ) = `excess`; it exceeds log(1/α) at any time with probability at most α.

    Parameters
    ----------
    excess, variation
        Σ(X - μ) with μ at least E[X | past], and V; any shapes that broadcast.
    """
    above = np.asarray(excess, np.float64)[..., None]
    exponents = _LOG_WEIGHTS + _LAMBDAS * above - _PSI * np.asarray(variation, np.float64)[..., None]
    top = exponents.max(axis=-1, keepdims=True)
    found: Floats = np.log(np.exp(exponents - top).sum(axis=-1)) + top[..., 0]
    return found


def boundary(variation: float, alpha: float) -> float:
    """Return what Σ(X - E[X | past]) exceeds at any time with probability at most `alpha`.

    Parameters
    ----------
    variation
        V = Σ(X - prediction)², of observations in an interval of length 1.
    alpha
        Probability of an error on one side, 0..1.

    Examples
    --------
    >>> boundary(0.0, 0.05) < boundary(10.0, 0.05) < boundary(10.0, 0.01)
    True
    """
    target = -math.log(alpha)
    low, high = 0.0, 1.0
    while float(log_wealth(high, variation)) < target:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        if float(log_wealth(middle, variation)) < target:
            low = middle
        else:
            high = middle
    return high


def stitched_boundary(variation: float, alpha: float, *, scale: float = 1.0, start: float = 1.0) -> float:
    """Return the polynomial stitched boundary: closed, and within a constant of the law of the iterated logarithm.

    u(v) = sqrt(k₁² v l(v) + k₂² c² l(v)²) + k₂ c l(v) with l(v) = s log log(η v / m) + log(ζ(s) / (α log(η)^s)),
    k₁ = (η^¼ + η^-¼) / √2, k₂ = (√η + 1) / 2, η = 2 and s = 1.4: Howard, Ramdas, McAuliffe and Sekhon 2021, theorem 1
    and equation (10).

    Parameters
    ----------
    variation
        V of a sub-gamma process; below `start` the boundary is flat.
    alpha
        Probability of an error on one side, 0..1.
    scale
        c: 1 for observations in an interval of length 1, 0 for a Brownian motion.
    start
        m: from which V on it is tight.

    Examples
    --------
    The paper's example for c = 0, 1.7 sqrt(v (log log(2 v) + 0.72 log(5.2 / α))):

    >>> v = 1e4
    >>> paper = 1.7 * math.sqrt(v * (math.log(math.log(2 * v)) + 0.72 * math.log(5.2 / 0.025)))
    >>> abs(stitched_boundary(v, 0.025, scale=0.0) / paper - 1) < 0.01
    True
    """
    v = max(variation, start)
    spent = _S * math.log(math.log(_ETA * v / start)) + math.log(_ZETA_S / alpha) - _S * math.log(math.log(_ETA))
    k1, k2 = (math.pow(_ETA, 0.25) + math.pow(_ETA, -0.25)) / math.sqrt(2), (math.sqrt(_ETA) + 1) / 2
    return math.sqrt(k1**2 * v * spent + (k2 * scale * spent) ** 2) + k2 * scale * spent


def interval(*, total: float, variation: float, weight: float, alpha_lower: float, alpha_upper: float) -> Interval:
    """Return bounds of the weighted mean Σ E[X | past] / weight that hold at all times at once.

    Parameters
    ----------
    total, variation
        Σ X and V of observations in an interval of length 1.
    weight
        By what the mean is scaled: n for a plain mean.
    alpha_lower, alpha_upper
        Probability that the lower bound is ever above the mean, and the upper one ever below.
    """
    if weight <= 0:
        return Interval(-math.inf, math.inf)
    return Interval(
        (total - boundary(variation, alpha_lower)) / weight, (total + boundary(variation, alpha_upper)) / weight
    )
