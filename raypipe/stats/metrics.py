"""How well probabilities rank and fit binary labels. Knows arrays only.

A metric that cannot be told (no rows, one class, NaN anywhere) is None: absence of evidence is never a number.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# scikit-learn's choice too: a certain and wrong answer costs about 36 nats instead of infinitely many.
_SMALLEST = np.finfo(np.float64).eps


def auc(labels: Floats, scores: Floats) -> float | None:
    """Return the chance that a positive outscores a negative, ties counting half (Hanley and McNeil 1982).

    Parameters
    ----------
    labels, scores
        Shape (n,); labels are 0.0 or 1.0.

    Returns
    -------
    float or None
        0..1; None without both classes, or with NaN.

    Examples
    --------
    >>> auc(np.array([0.0, 1.0, 1.0]), np.array([0.2, 0.2, 0.9]))
    0.75
    """
    positives = int(labels.sum()) if _usable(labels, scores) else 0
    negatives = len(labels) - positives
    if not positives or not negatives:
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def log_loss(labels: Floats, scores: Floats) -> float | None:
    """Return the mean negative log likelihood in nats; None without rows, or with NaN."""
    if not _usable(labels, scores):
        return None
    p = np.clip(scores, _SMALLEST, 1 - _SMALLEST)
    return float(-np.mean(np.where(labels == 1, np.log(p), np.log1p(-p))))


def brier(labels: Floats, scores: Floats) -> float | None:
    """Return the mean squared error of the probability (Brier 1950); None without rows, or with NaN."""
    return float(np.mean(np.square(scores - labels))) if _usable(labels, scores) else None


def f1(labels: Floats, scores: Floats, threshold: float) -> float | None:
    """Return the harmonic mean of precision and recall at `score >= threshold`.

    None without a positive label, or with NaN; 0.0 when positives exist and none was found.
    """
    if not _usable(labels, scores) or not labels.any():
        return None
    said = scores >= threshold
    hits = float(labels[said].sum())
    return 2 * hits / float(said.sum() + labels.sum())


def binary_metrics(labels: Floats, scores: Floats, threshold: float) -> Mapping[str, float | None]:
    """Return every metric by the name under which the user's file limits it."""
    return {
        "auc": auc(labels, scores),
        "log_loss": log_loss(labels, scores),
        "brier": brier(labels, scores),
        "f1": f1(labels, scores, threshold),
    }


def _usable(labels: Floats, scores: Floats) -> bool:
    if labels.shape != scores.shape:
        raise ValueError(f"{labels.shape} labels and {scores.shape} scores: give one score for each label")
    return bool(len(labels)) and bool(np.isfinite(scores).all()) and bool(np.isin(labels, (0.0, 1.0)).all())
