"""Intervals of a metric's difference between two models on the same rows. Knows arrays only.

Rows are drawn with replacement, and both models are measured on each draw, so what makes a draw easy or hard cancels
out (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13: percentile intervals).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raypipe.stats.metrics import binary_metrics

Floats = npt.NDArray[np.float64]
_Measure = Callable[[Floats], Floats]
_SMALLEST = np.finfo(np.float64).eps
# Draws that are measured at once: 50 x 25,000 weights are 10 MB.
_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Difference:
    """How a metric differs, first model minus second.

    Parameters
    ----------
    first, second
        The metric of each model on all rows.
    lower, upper
        Bounds of the difference.
    rows
        Rows that both were measured on.
    """

    first: float
    second: float
    lower: float
    upper: float
    rows: int

    @property
    def value(self) -> float:
        """First minus second."""
        return self.first - self.second


def paired_difference(
    metric: str,
    labels: Floats,
    first: Floats,
    second: Floats,
    *,
    threshold: tuple[float, float] = (0.5, 0.5),
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Difference | None:
    """Return the difference of a metric and its interval; None where the metric cannot be told on these rows.

    Parameters
    ----------
    metric
        `auc`, `log_loss`, `brier` or `f1`.
    labels, first, second
        Shape (n,): labels 0.0 or 1.0, and both models' probabilities.
    threshold
        Of each model, for `f1`.
    confidence
        Of the two-sided interval, 0..1.
    draws
        Resamples; 1000 settle a 95 % interval's ends to about a tenth of its width.
    seed
        Of the draws.
    """
    measured = [binary_metrics(labels, s, t)[metric] for s, t in ((first, threshold[0]), (second, threshold[1]))]
    if measured[0] is None or measured[1] is None:
        return None
    ours, theirs = (_measure(metric, labels, s, t) for s, t in ((first, threshold[0]), (second, threshold[1])))
    random = np.random.default_rng(seed)
    n = len(labels)
    differences = []
    for start in range(0, draws, _AT_ONCE):
        weights = random.multinomial(n, np.full(n, 1 / n), size=min(_AT_ONCE, draws - start)).astype(np.float64)
        differences.append(ours(weights) - theirs(weights))
    found = np.concatenate(differences)
    tail = (1 - confidence) / 2
    # A draw with one class only tells nothing.
    lower, upper = np.nanquantile(found, [tail, 1 - tail])
    return Difference(measured[0], measured[1], float(lower), float(upper), n)


def interval_of(
    metric: str, labels: Floats, scores: Floats, *, confidence: float = 0.95, draws: int = 500, seed: int = 0
) -> tuple[float, float, float] | None:
    """Return a metric and the bounds of its percentile interval; None where it cannot be told on these rows."""
    value = binary_metrics(labels, scores, 0.5)[metric]
    if value is None:
        return None
    measure = _measure(metric, labels, scores, 0.5)
    random = np.random.default_rng(seed)
    n = len(labels)
    weights = (
        random.multinomial(n, np.full(n, 1 / n), size=min(_AT_ONCE, draws - start)).astype(np.float64)
        for start in range(0, draws, _AT_ONCE)
    )
    tail = (1 - confidence) / 2
    lower, upper = np.nanquantile(np.concatenate([measure(w) for w in weights]), [tail, 1 - tail])
    return value, float(lower), float(upper)


def weighted_auc(labels: Floats, scores: Floats) -> _Measure:
    """Return a function of row weights (draws, n) that gives the AUC of each draw; NaN where a class is missing."""
    order = np.argsort(scores, kind="stable")
    positive = labels[order] == 1
    ordered = scores[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))

    def measure(weights: Floats) -> Floats:
        w = weights[:, order]
        p = np.add.reduceat(w * positive, starts, axis=1)
        n = np.add.reduceat(w * ~positive, starts, axis=1)
        below = np.cumsum(n, axis=1) - n
        pairs = p.sum(axis=1) * n.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            found: Floats = (p * (below + n / 2)).sum(axis=1) / pairs
        return found

    return measure


def _measure(metric: str, labels: Floats, scores: Floats, threshold: float) -> _Measure:
    match metric:
        case "auc":
            return weighted_auc(labels, scores)
        case "log_loss":
            p = np.clip(scores, _SMALLEST, 1 - _SMALLEST)
            return _mean_of(-np.where(labels == 1, np.log(p), np.log1p(-p)))
        case "brier":
            return _mean_of(np.square(scores - labels))
        case "f1":
            said = (scores >= threshold).astype(np.float64)
            return lambda w: 2 * (w @ (said * labels)) / np.maximum(w @ said + w @ labels, _SMALLEST)
        case _:
            raise ValueError(f"{metric!r} is not a metric: there are auc, log_loss, brier, f1")


def _mean_of(values: Floats) -> _Measure:
    return lambda weights: weights @ values / weights.sum(axis=1)
