"""Quantiles of positive numbers from counts on a logarithmic scale: mergeable, deterministic, with one-sided bounds.

Masson, Rim and Lee, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees", PVLDB
12(12), 2019: a number x lies in bin ceil(log x / log γ), whose edges are γ^(bin-1) and γ^bin. A quantile is known to
within its bin, so a bound that takes the right edge holds whatever lies inside. Knows numbers, not what they time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_GAMMA = 1.01
_LOG_GAMMA = math.log(_GAMMA)
# What is smaller is counted as this: a microsecond, where seconds are counted; 10^12 times as much ends the scale.
_SMALLEST_BIN = math.ceil(math.log(1e-6) / _LOG_GAMMA)
_LARGEST_BIN = math.ceil(math.log(1e6) / _LOG_GAMMA)


@dataclass(frozen=True, slots=True)
class LogHistogram:
    """Counts by bin; edges are 1 % apart. `merge` is associative and commutative; `LogHistogram()` changes nothing.

    Examples
    --------
    >>> waits = LogHistogram.of([0.010, 0.011, 0.012, 0.5])
    >>> low, high = waits.edges(waits.bin_at(3))
    >>> low <= 0.012 <= high < 1.01001 * low
    True
    """

    counts: Mapping[int, int] = field(default_factory=dict)

    @staticmethod
    def of(values: Iterable[float]) -> LogHistogram:
        """Return the counts of numbers above 0; at most 2,778 bins."""
        counts: dict[int, int] = {}
        for value in values:
            place = bin_of(value)
            counts[place] = counts.get(place, 0) + 1
        return LogHistogram(counts)

    def merge(self, other: LogHistogram) -> LogHistogram:
        """Return the counts of both."""
        return LogHistogram(
            {k: self.counts.get(k, 0) + other.counts.get(k, 0) for k in {**self.counts, **other.counts}}
        )

    @property
    def count(self) -> int:
        """How many numbers."""
        return sum(self.counts.values())

    def bin_at(self, rank: int) -> int:
        """Return the bin of the number at `rank` in rising order, 1 for the smallest.

        Raises
        ------
        ValueError
            When there are fewer numbers.
        """
        before = 0
        for place in sorted(self.counts):
            before += self.counts[place]
            if before >= rank:
                return place
        raise ValueError(f"there are {before} numbers, and rank {rank} was asked for")

    def quantile(self, share: float) -> float | None:
        """Return the upper edge of the bin that holds a quantile, 0..1; None without numbers."""
        count = self.count
        return self.edges(self.bin_at(max(1, math.ceil(share * count))))[1] if count else None

    def surely_above(self, value: float) -> int:
        """Return how many numbers are at least `value`, of those whose whole bin is."""
        return sum(n for place, n in self.counts.items() if self.edges(place)[0] >= value)

    def perhaps_above(self, value: float) -> int:
        """Return how many numbers may be above `value`, with the whole bin that holds it."""
        return sum(n for place, n in self.counts.items() if self.edges(place)[1] > value)

    @staticmethod
    def edges(place: int) -> tuple[float, float]:
        """Return what the numbers of a bin lie between."""
        return _GAMMA ** (place - 1), _GAMMA**place


def bin_of(value: float) -> int:
    """Return the bin of a number.

    Raises
    ------
    ValueError
        When it is NaN.
    """
    if math.isnan(value):
        raise ValueError("NaN has no place among numbers: count it elsewhere")
    if value <= 1e-6:
        return _SMALLEST_BIN
    return min(_LARGEST_BIN, math.ceil(math.log(value) / _LOG_GAMMA)) if value < math.inf else _LARGEST_BIN
