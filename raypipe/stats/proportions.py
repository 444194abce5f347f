"""How sure a share, the difference of two shares, or the ratio of two counts is.

Knows counts. Does not know what was counted, or which difference matters.
"""

from __future__ import annotations

import math
from statistics import NormalDist


def wilson(successes: int, trials: int, confidence: float) -> tuple[float, float]:
    """Return Wilson's score interval of a share.

    Wilson 1927, "Probable inference, the law of succession, and statistical inference", J. Am. Stat. Assoc. 22,
    209-212. It stays within 0..1 and is not empty at 0 or at 1, unlike the textbook's.

    Parameters
    ----------
    successes, trials
        Counts, `0 <= successes <= trials`; no trial at all gives 0..1.
    confidence
        Of the two-sided interval, 0..1.

    Examples
    --------
    >>> [round(x, 3) for x in wilson(0, 20, 0.95)]
    [0.0, 0.161]
    """
    if trials == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, shrink = successes / trials, 1 + z * z / trials
    middle = (share + z * z / (2 * trials)) / shrink
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / shrink
    # At the ends the formula is exact, but for the last bit.
    return min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))


def share_difference(one: tuple[int, int], other: tuple[int, int], confidence: float) -> tuple[float, float]:
    """Return an interval of the first share less the second, of independent rows.

    Newcombe 1998, "Interval estimation for the difference between independent proportions", Statistics in Medicine 17,
    873-890, method 10: Wilson's intervals, combined.

    Parameters
    ----------
    one, other
        Successes and trials of each.

    Examples
    --------
    Newcombe's table II, example (a), 56 of 70 and 48 of 80:

    >>> [round(x, 4) for x in share_difference((56, 70), (48, 80), 0.95)]
    [0.0524, 0.3339]
    """
    share, against = _share(one), _share(other)
    low, high = wilson(*one, confidence)
    other_low, other_high = wilson(*other, confidence)
    difference = share - against
    return (
        difference - math.hypot(share - low, other_high - against),
        difference + math.hypot(high - share, against - other_low),
    )


def count_ratio(count: int, expected: float, periods: int, confidence: float) -> tuple[float, float]:
    """Return an interval of a count's rate over that of earlier periods of equal length.

    Of two Poisson counts, the first is binomial given their sum (Przyborowski and Wilenski 1940, "Homogeneity of
    results in testing samples from Poisson series", Biometrika 31, 313-323); its share has Wilson's interval.

    Parameters
    ----------
    count
        Of the period in question.
    expected
        Count of one earlier period, above 0.
    periods
        How many earlier periods that is known from.

    Examples
    --------
    >>> [round(x, 2) for x in count_ratio(1, 4, 8, 0.95)]
    [0.04, 1.45]
    """
    before = round(expected * periods)
    low, high = wilson(count, count + before, confidence)
    return _odds(low) * periods, _odds(high) * periods


def _share(counted: tuple[int, int]) -> float:
    successes, trials = counted
    return successes / trials if trials else 0.5


def _odds(share: float) -> float:
    return share / (1 - share) if share < 1 else math.inf
