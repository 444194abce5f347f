"""Those who judge a rollout in the study: ours, vectorised over rollouts, and what people use today.

Every judge takes cumulative counts of shape (rollouts, looks, ...) and returns the look, from 0, at which each
rollout was stopped; `NEVER` where it was not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from scipy.stats import mannwhitneyu

from raypipe.rollout import analysis
from raypipe.rollout.analysis import ErrorEvidence
from raypipe.rollout.judge import TIGHT_AT
from raypipe.stats.asymptotic import normal_boundary
from raypipe.stats.betting import Cells, log_wealth, log_wealth_below

Floats = npt.NDArray[np.float64]
Looks = npt.NDArray[np.int64]
NEVER = np.iinfo(np.int64).max
# 100 rollouts x 600 looks x 24 bets are 12 MB.
_AT_ONCE = 100


def error_cells(shares: tuple[float, ...]) -> Cells:
    """Return what bets are placed on for these shares: in each a challenger's error, a champion's, and neither."""
    return analysis.error_cells([ErrorEvidence(share=p) for p in shares])[0]


def harmful(cells: Cells, counts: Floats, margin: float, alpha: float, *, typical: float = 1.0) -> Looks:
    """Return when HARMFUL is first said; counts (rollouts, looks, cells)."""
    return _first(counts, lambda part: log_wealth(cells, part, margin, typical=typical) >= -math.log(alpha))


def safe(cells: Cells, counts: Floats, margin: float, beta: float, *, typical: float = 1.0) -> Looks:
    """Return when SAFE is first said."""
    return _first(counts, lambda part: log_wealth_below(cells, part, margin, typical=typical) >= -math.log(beta))


def asymptotic(moments: Floats, shares: tuple[float, ...], margin: float, alpha: float, *, fewest: int) -> Looks:
    """Return when the difference of means is first said to be above `margin` (`raypipe.rollout.judge`).

    Parameters
    ----------
    moments
        Shape (rollouts, looks, shares, 2 arms, 3): cumulative count, sum and sum of squares; the challenger's arm
        first.
    """

    def crossed(part: Floats) -> npt.NDArray[np.bool_]:
        n, total, squares = (part[..., k] for k in range(3))
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = total / n
            variance = (squares - total * mean) / (n - 1) / n
            known = (n > 1).all(axis=-1)
            weight = np.where(known, np.array(shares) * n.sum(axis=-1), 0.0)
            difference = np.where(known, mean[..., 0] - mean[..., 1], 0.0)
            spread = (weight**2 * np.where(known, variance.sum(axis=-1), 0.0)).sum(axis=-1)
            units = weight.sum(axis=-1)
            lower = (weight * difference).sum(axis=-1) / units - np.sqrt(spread / units) / units * _boundaries(
                units, alpha
            )
        enough = n.sum(axis=-2).min(axis=-1) >= fewest
        return enough & (lower > margin)

    return _first(moments, crossed)


def _boundaries(units: Floats, alpha: float) -> Floats:
    scale = np.unique(np.round(units))
    found = np.array([normal_boundary(float(u), alpha, tightest_at=TIGHT_AT) for u in scale])
    return np.interp(units, scale, found)


def argo(failed_rate: Floats, *, most: float, limit: int) -> Looks:
    """Return when more than `limit` measurements failed (Argo Rollouts: successCondition, failureLimit).

    Parameters
    ----------
    failed_rate
        Shape (rollouts, measurements): the challenger's error rate in each interval.
    most
        Rate above which a measurement fails.
    """
    return _where((failed_rate > most).cumsum(axis=1) > limit)


def flagger(failed_rate: Floats, *, most: float, threshold: int) -> Looks:
    """Return when `threshold` checks in a row failed (Flagger: threshold, with minimum success 1 - `most`)."""
    failed = failed_rate > most
    row = np.zeros(failed.shape, np.int64)
    for look in range(failed.shape[1]):
        before = row[:, look - 1] if look else 0
        row[:, look] = np.where(failed[:, look], before + 1, 0)
    return _where(row >= threshold)


def kayenta(challenger: Floats, champion: Floats, *, every: int, level: float = 0.02) -> Looks:
    """Return when a Mann-Whitney test on all points so far first calls the challenger's metric higher.

    Parameters
    ----------
    challenger, champion
        Shape (rollouts, points): the metric of each arm in short intervals.
    every
        Points between two analyses.
    level
        Of the two-sided test: Kayenta's judge takes 98 %.
    """
    looks = range(every, challenger.shape[1] + 1, every)
    crossed = np.zeros((len(challenger), len(looks)), np.bool_)
    for place, n in enumerate(looks):
        test = mannwhitneyu(challenger[:, :n], champion[:, :n], axis=1, method="asymptotic", alternative="greater")
        crossed[:, place] = test.pvalue < level / 2
    return _where(crossed)


def fixed_difference(base: float, harm: float, margin: float, share: float, alpha: float, power: float = 0.8) -> float:
    """Return how many requests a test at one look needs to find a difference of rates above `margin`.

    The score test of two proportions (Farrington and Manning, Statistics in Medicine 9, 1990), with the variance
    under the margin for `alpha` and under the harm for `power`.
    """
    known = share * harm + (1 - share) * base
    null_base = known - share * margin

    def variance(ours: float, theirs: float) -> float:
        return ours * (1 - ours) / share + theirs * (1 - theirs) / (1 - share)

    null, truth = math.sqrt(variance(null_base + margin, null_base)), math.sqrt(variance(harm, base))
    return _normal_size(null, truth, harm - base - margin, alpha, power)


def fixed_rate(limit: float, rate: float, alpha: float, power: float = 0.8) -> float:
    """Return how many observations a test at one look needs to find that a rate is above `limit`."""
    null, truth = math.sqrt(limit * (1 - limit)), math.sqrt(rate * (1 - rate))
    return _normal_size(null, truth, rate - limit, alpha, power)


def fixed_mean(deviation: float, shift: float, alpha: float, power: float = 0.8) -> float:
    """Return how many observations a z-test needs to find that a mean is `shift` above its margin."""
    return _normal_size(deviation, deviation, shift, alpha, power)


def _normal_size(null: float, truth: float, shift: float, alpha: float, power: float) -> float:
    quantile = NormalDist().inv_cdf
    return ((quantile(1 - alpha) * null + quantile(power) * truth) / shift) ** 2


def _first(values: Floats, crossed: Callable[[Floats], npt.NDArray[np.bool_]]) -> Looks:
    parts = (values[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE))
    return np.concatenate([_where(crossed(part)) for part in parts])


def _where(crossed: npt.NDArray[np.bool_]) -> Looks:
    return np.where(crossed.any(axis=1), crossed.argmax(axis=1), NEVER)
