"""Numbers in [-1, 1] kept as masses on fixed knots: a sum that any bet can be placed on later.

A number between two knots is shared among them so that its mean stays exactly what it was. The logarithm is concave, so
what a bet wins on the shared masses is at most what it would have won on the numbers themselves (Jensen's inequality):
evidence is lost in the second order of the knots' distance, and never made up. Knows numbers, not what they measure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from raypipe.stats.betting import Cells

# 128 intervals of 1/64: with λ <= 1 the loss is below λ² / 8 / 64² = 3e-5 for each number.
INTERVALS = 128
_KNOTS = np.linspace(-1.0, 1.0, INTERVALS + 1)


@dataclass(frozen=True, slots=True)
class Tally:
    """How much lies on each knot. `merge` is associative and commutative, and `Tally()` changes nothing.

    Parameters
    ----------
    masses
        Mass by knot: knot k is k / 64 - 1.

    Examples
    --------
    >>> tally = Tally.of([0.25, 0.26])
    >>> tally.count, round(tally.mean, 9)
    (2.0, 0.255)
    >>> tally.merge(Tally()) == tally
    True
    """

    masses: Mapping[int, float] = field(default_factory=dict)

    @staticmethod
    def of(values: Iterable[float]) -> Tally:
        """Return the tally of numbers, each capped to [-1, 1].

        Raises
        ------
        ValueError
            When one is not a number: absence of evidence is never a zero.
        """
        meter = TallyMeter()
        for value in values:
            meter.add(value)
        return meter.tally()

    def merge(self, other: Tally) -> Tally:
        """Return the masses of both."""
        return Tally({k: self.masses.get(k, 0.0) + other.masses.get(k, 0.0) for k in {**self.masses, **other.masses}})

    @property
    def count(self) -> float:
        """How many numbers."""
        return math.fsum(self.masses.values())

    @property
    def mean(self) -> float:
        """Their mean, exact but for rounding; NaN without any."""
        count = self.count
        return math.fsum(m * float(_KNOTS[k]) for k, m in self.masses.items()) / count if count else math.nan

    def cells(self, *, low: float) -> tuple[Cells, np.ndarray]:
        """Return what can be bet on: the knots that hold something, and their masses.

        Parameters
        ----------
        low
            What the numbers are at least: -1 for differences, 0 for shares.
        """
        knots = sorted(self.masses)
        ones = np.ones(len(knots))
        cells = Cells(_KNOTS[knots], ones, np.full(len(knots), low), ones)
        return cells, np.array([self.masses[k] for k in knots], np.float64)


class TallyMeter:
    """Counts a `Tally` one number at a time, in constant memory; lives in one thread of one replica."""

    __slots__ = ("_masses",)

    def __init__(self) -> None:
        self._masses = [0.0] * (INTERVALS + 1)

    def add(self, value: float) -> None:
        """Count one number, capped to [-1, 1].

        Raises
        ------
        ValueError
            When it is not a number.
        """
        if math.isnan(value):
            raise ValueError("NaN is no evidence: count a failure of its arm instead")
        place = (min(1.0, max(-1.0, value)) + 1.0) * (INTERVALS / 2)
        knot = min(int(place), INTERVALS - 1)
        above = place - knot
        self._masses[knot] += 1.0 - above
        self._masses[knot + 1] += above

    def tally(self) -> Tally:
        """Return everything counted so far."""
        return Tally({k: m for k, m in enumerate(self._masses) if m})
