"""How far a column has moved from its reference. Knows profiles; does not know where they were taken.

Population stability index over bins of the reference: Σ (live - reference) ln(live / reference) of the bins' shares
(Siddiqi, Credit Risk Scorecards, 2006). Without any shift it is not zero but about (bins - 1) (1/n + 1/m) for n and m
rows (Yurdakul, Statistical Properties of Population Stability Index, 2018), which is told beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from raypipe.profile import ColumnProfile
from raypipe.verdict import Finding, Status

_RANKS = tuple(i / 10 for i in range(1, 10))
_CATEGORIES = 20
# Added to each bin's count, so that an empty one has a logarithm.
_SMOOTHING = 0.5


@dataclass(frozen=True, slots=True)
class Shift:
    """How far a column has moved.

    Parameters
    ----------
    psi
        Population stability index.
    noise
        What it would be about without any shift, from the numbers of rows alone.
    bins
        Bins that were compared; nulls are one of their own.
    """

    psi: float
    noise: float
    bins: int


def shift(reference: ColumnProfile, live: ColumnProfile) -> Shift | None:
    """Return how far `live` is from `reference`; None where one has no rows, or the reference has one value only.

    Numbers are binned by the reference's deciles, strings by its 20 most frequent values and one bin for all others;
    nulls and NaN are a bin.
    """
    if not reference.rows or not live.rows:
        return None
    pair = _strings(reference, live) if reference.type == "string" else _numbers(reference, live)
    if pair is None:
        return None
    counts = [(*pair[0], reference.nulls + reference.nans), (*pair[1], live.nulls + live.nans)]
    # Nulls that neither has ever seen are no bin.
    kept = [i for i in range(len(counts[0])) if counts[0][i] or counts[1][i]]
    ours, theirs = ([side[i] for i in kept] for side in counts)
    if sum(n > 0 for n in ours) < 2:
        return None
    return Shift(psi(ours, theirs), (len(kept) - 1) * (1 / reference.rows + 1 / live.rows), len(kept))


def psi(reference: Sequence[float], live: Sequence[float]) -> float:
    """Return the population stability index of two histograms over the same bins; at least 0, and symmetric.

    Examples
    --------
    >>> psi([50, 50], [50, 50])
    0.0
    >>> round(psi([500, 500], [200, 800]), 2)
    0.41
    """
    bins = len(reference)
    totals = sum(reference) + _SMOOTHING * bins, sum(live) + _SMOOTHING * bins
    shares = [
        ((r + _SMOOTHING) / totals[0], (n + _SMOOTHING) / totals[1]) for r, n in zip(reference, live, strict=True)
    ]
    return sum((b - a) * math.log(b / a) for a, b in shares)


def judge_shift(name: str, reference: ColumnProfile | None, live: ColumnProfile, limit: float) -> Finding:
    """Return SAFE or HARMFUL by the limit; INSUFFICIENT without rows; NOT_APPLICABLE for a constant that stayed so."""
    rule = f"psi({name})"
    if reference is None or not reference.rows or not live.rows:
        return Finding(rule, Status.INSUFFICIENT, f"{name}: nothing to compare", None, limit, live.rows)
    found = shift(reference, live)
    if found is None:
        return _judge_constant(rule, name, reference, live, limit)
    said = f"{name} has moved by PSI {found.psi:.3f}, {limit:g} is allowed (noise {found.noise:.3f})"
    status = Status.HARMFUL if found.psi > limit else Status.SAFE
    return Finding(rule, status, said, found.psi, limit, live.rows)


def _judge_constant(rule: str, name: str, reference: ColumnProfile, live: ColumnProfile, limit: float) -> Finding:
    same = _values(reference) == _values(live)
    if same:
        message = f"{name} was one value in training and still is: there is nothing to compare"
        return Finding(rule, Status.NOT_APPLICABLE, message, None, limit, live.rows)
    message = f"{name} was one value in training and has others now: no index tells how far that is"
    return Finding(rule, Status.HARMFUL, message, None, limit, live.rows)


def _values(profile: ColumnProfile) -> tuple[object, ...]:
    """Return what a column holds, as far as a constant one can be told from others by it."""
    return profile.minimum, profile.maximum, tuple(v for v, _ in profile.top(2)), profile.nulls > 0


def _numbers(reference: ColumnProfile, live: ColumnProfile) -> tuple[list[float], list[float]] | None:
    deciles = reference.quantiles(_RANKS)
    if deciles is None:
        return [], []
    # Equal deciles are one edge: a value that many rows share is one bin, not several empty ones.
    edges = sorted({d for d in deciles if d < (reference.maximum or d + 1)} or {deciles[0]})
    return _binned(reference, edges), _binned(live, edges)


def _binned(profile: ColumnProfile, edges: Sequence[float]) -> list[float]:
    below = profile.cdf(edges)
    if below is None:
        return [0.0] * (len(edges) + 1)
    ranks = (0.0, *below, 1.0)
    return [profile.count * (b - a) for a, b in pairwise(ranks)]


def _strings(reference: ColumnProfile, live: ColumnProfile) -> tuple[list[float], list[float]]:
    names = [value for value, _ in reference.top(_CATEGORIES)]
    return _counted(reference, names), _counted(live, names)


def _counted(profile: ColumnProfile, names: Sequence[str]) -> list[float]:
    counts = dict(profile.top(10**6))
    found = [float(counts.get(name, 0)) for name in names]
    return [*found, max(0.0, profile.count - sum(found))]
