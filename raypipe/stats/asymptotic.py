"""Confidence sequences of unbounded means, by the normal approximation: they hold as the sample grows, not exactly.

Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic confidence
sequences", Annals of Statistics 52(6), 2024, theorem 2.2 and its one-sided form: sums of independent observations
with more than two moments are, strongly coupled, a Brownian motion in the time of their variance, and a boundary that
such a motion ever crosses with probability α is crossed by them as rarely, once the variance is estimated well. Knows
moments only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, mean and squared deviations of numbers; mergeable (Chan, Golub and LeVeque 1979, eq. 2.1).

    Examples
    --------
    >>> both = Moments().add(1.0).add(3.0).merge(Moments().add(5.0))
    >>> both.count, both.mean, both.variance
    (3, 3.0, 4.0)
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> Moments:
        """Return these and one more.

        Raises
        ------
        ValueError
            When it is not finite.
        """
        if not math.isfinite(value):
            raise ValueError(f"{value} is no evidence: leave it out, and count how many are")
        return self.merge(Moments(1, value))

    def merge(self, other: Moments) -> Moments:
        """Return the moments of both."""
        n, m = self.count, other.count
        if not n or not m:
            return self if n else other
        delta = other.mean - self.mean
        mean = self.mean + delta * m / (n + m)
        return Moments(n + m, mean, self.squares + other.squares + delta * delta * n * m / (n + m))

    @property
    def variance(self) -> float:
        """With n - 1; infinite below two numbers, of which nothing is known."""
        return self.squares / (self.count - 1) if self.count > 1 else math.inf


def normal_boundary(time: float, alpha: float, *, tightest_at: float) -> float:
    """Return what a Brownian motion exceeds at any time with probability at most `alpha`.

    The one-sided normal mixture, by its closed bound u(t) = sqrt(2 (t + ρ) log(1 + sqrt((t + ρ) / ρ) / (2 α))): Howard,
    Ramdas, McAuliffe and Sekhon, Annals of Statistics 49(2), 2021, proposition 5 and equation (14); with ρ = t* /
    (-2 log α + log(-2 log α) + 1) it is about tightest at t* (Waudby-Smith et al. 2024, appendix B.2, at 2 α).

    Parameters
    ----------
    time
        Variance of the motion by now.
    tightest_at
        Time at which it is to be tight.

    Examples
    --------
    >>> round(normal_boundary(1000.0, 0.05, tightest_at=1000.0) / math.sqrt(1000), 2)
    2.78
    >>> normal_boundary(0.0, 0.05, tightest_at=1000.0) < normal_boundary(10.0, 0.05, tightest_at=1000.0)
    True
    >>> normal_boundary(1e9, 0.05, tightest_at=1000.0) / math.sqrt(1e9) < 5
    True
    """
    twice = -2 * math.log(min(2 * alpha, 0.5))
    rho = tightest_at / (twice + math.log(twice) + 1)
    return math.sqrt(2 * (time + rho) * math.log1p(math.sqrt((time + rho) / rho) / (2 * alpha)))
