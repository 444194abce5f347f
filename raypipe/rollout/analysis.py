"""What is known about a challenger's errors: a value that each gateway replica counts and that can be summed.

Knows counts, arms and what they say about a margin. Does not know where requests come from or what is decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from raypipe.stats.betting import Cells, bounds
from raypipe.stats.sequential import Interval
from raypipe.verdict import Finding, Status


@dataclass(frozen=True, slots=True)
class ErrorEvidence:
    """Errors by assigned arm, counted under one share of the challenger, and those of shadow pairs. Mergeable.

    Parameters
    ----------
    challenger_requests, challenger_errors, champion_requests, champion_errors
        Units by assigned arm (intention to treat), and those of them whose arm failed.
    pairs, pair_challenger_errors, pair_champion_errors, pair_both_errors
        Shadow pairs, and those of them that an arm failed, or both.
    share
        Chance with which each of the units was assigned to the challenger, 0..1; 0 where there is none.
    """

    challenger_requests: int = 0
    challenger_errors: int = 0
    champion_requests: int = 0
    champion_errors: int = 0
    pairs: int = 0
    pair_challenger_errors: int = 0
    pair_champion_errors: int = 0
    pair_both_errors: int = 0
    share: float = 0.0

    def merge(self, other: ErrorEvidence) -> ErrorEvidence:
        """Return the evidence of both; associative, commutative, and `ErrorEvidence()` changes nothing.

        Raises
        ------
        ValueError
            When they were counted under two shares: their arms cannot be pooled.
        """
        if self.share and other.share and self.share != other.share:
            raise ValueError(
                f"units of share {self.share:g} and of {other.share:g} are judged side by side, not pooled"
            )
        counts = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self) if f.name != "share"}
        return ErrorEvidence(**counts, share=self.share or other.share)


class ErrorMeter:
    """Counts `ErrorEvidence` one observation at a time; lives in one thread of one replica, for one generation."""

    __slots__ = ("_challenger", "_champion", "_pairs", "_share")

    def __init__(self) -> None:
        self._challenger = [0, 0]
        self._champion = [0, 0]
        self._pairs = [0, 0, 0, 0]
        self._share = 0.0

    def request(self, *, challenger: bool, share: float, failed: bool) -> None:
        """Count one unit that was assigned with challenger share `share` (0..1, exclusive).

        Raises
        ------
        ValueError
            When another was assigned with another share.
        """
        if share != self._share:
            if self._share:
                raise ValueError(f"a generation has one share, and {share:g} came after {self._share:g}")
            self._share = share
        arm = self._challenger if challenger else self._champion
        arm[0] += 1
        arm[1] += failed

    def pair(self, *, challenger_failed: bool, champion_failed: bool) -> None:
        """Count one request that both arms were asked."""
        self._pairs[0] += 1
        self._pairs[1] += challenger_failed
        self._pairs[2] += champion_failed
        self._pairs[3] += challenger_failed and champion_failed

    def evidence(self) -> ErrorEvidence:
        """Return everything counted so far."""
        (ours, our_errors), (theirs, their_errors) = self._challenger, self._champion
        pairs, worse, better, both = self._pairs
        return ErrorEvidence(ours, our_errors, theirs, their_errors, pairs, worse, better, both, self._share)


def error_cells(strata: Sequence[ErrorEvidence]) -> tuple[Cells, np.ndarray]:
    """Return what can be bet on: for each share, and for pairs, the values of X and how often each was seen.

    Of a unit that was assigned with share p, an error of the challenger adds X = 1 and one of the champion
    X = -p / (1 - p): the champion's errors scaled to as many requests as the challenger had. Given the past the mean
    of X is p times the difference of the arms' error rates (inverse propensity weighting, times p: Horvitz and
    Thompson 1952). A pair adds the difference of its two errors, with weight 1. So the sum of X over the sum of
    weights estimates the difference, and weighs each step by the challenger's requests in it.

    Examples
    --------
    >>> cells, counts = error_cells([ErrorEvidence(50, 4, 950, 19, share=0.05)])
    >>> counts.tolist(), round(float(cells.values @ counts), 9)
    ([4, 19, 977], 3.0)
    """
    rows: list[tuple[float, float, float, int]] = []
    for known in strata:
        if known.share:
            odds = known.share / (1 - known.share)
            errors = known.challenger_errors, known.champion_errors
            rows += _rows(known.challenger_requests + known.champion_requests, errors, odds, known.share)
        if known.pairs:
            both = known.pair_both_errors
            rows += _rows(
                known.pairs, (known.pair_challenger_errors - both, known.pair_champion_errors - both), 1.0, 1.0
            )
    if not rows:
        return Cells(*np.zeros((4, 0))), np.zeros(0)
    values, weights, lows, counts = zip(*rows, strict=True)
    return Cells(np.array(values), np.array(weights), np.array(lows), np.ones(len(rows))), np.array(counts)


def judge_error_rate(
    strata: Sequence[ErrorEvidence], *, margin: float, alpha: float, beta: float, processes: int = 1
) -> Finding:
    """Return whether the challenger's error rate exceeds the champion's by more than `margin`.

    The estimand is the difference of the arms' error rates by assigned arm, averaged over the observations with the
    weights of `error_cells`. HARMFUL is wrong at any time of the rollout with probability at most `alpha`, SAFE with at
    most `beta`, if the assignment of a unit does not depend on what came before it; error rates may change with time
    (`stats.betting`).

    Parameters
    ----------
    strata
        What was counted, by share (`Evidence.errors`).
    margin
        Difference, 0..1.
    alpha, beta
        One-sided error probabilities, 0..1.
    processes
        How many may each have counted the same units. Counts are divided by it: the bets of the processes are then
        averaged geometrically, and that is at most their arithmetic mean, which is a fair bet on each unit.
    """
    cells, counts = error_cells(strata)
    arms = any(s.challenger_requests for s in strata) and any(s.champion_requests for s in strata)
    if not (arms or any(s.pairs for s in strata)):
        return unknown("error_rate", margin)
    found = bounds(cells, counts / max(1, processes), alpha_lower=alpha, alpha_upper=beta)
    difference = float(cells.values @ counts / (cells.weights @ counts))
    said = f"error_rate: {_rates(strata)}; the difference is between {found.lower:.4f} and {found.upper:.4f}"
    return compared("error_rate", said, difference, found, margin)


def unknown(rule: str, margin: float) -> Finding:
    """Return the finding of a guardrail that nothing is known for."""
    return Finding(rule, Status.INSUFFICIENT, f"{rule}: nothing is known yet", None, margin)


def compared(rule: str, said: str, observed: float, bounds: Interval, margin: float, word: str = "margin") -> Finding:
    """Return HARMFUL above the margin (or limit), SAFE below it, and else INSUFFICIENT, with both numbers in words."""
    if bounds.lower > margin:
        return Finding(rule, Status.HARMFUL, f"{said}, above the {word} {margin:g}", observed, margin)
    if bounds.upper < margin:
        return Finding(rule, Status.SAFE, f"{said}, below the {word} {margin:g}", observed, margin)
    return Finding(rule, Status.INSUFFICIENT, f"{said}, the {word} is {margin:g}", observed, margin)


def _rows(
    observations: int, errors: tuple[int, int], odds: float, weight: float
) -> list[tuple[float, float, float, int]]:
    """Return value, weight, least value and count of each of the three things an observation can be."""
    worse, better = errors
    values = (1.0, worse), (-odds, better), (0.0, observations - worse - better)
    return [(x, weight, -odds, n) for x, n in values]


def _rates(strata: Sequence[ErrorEvidence]) -> str:
    challenger = sum(s.challenger_requests + s.pairs for s in strata)
    champion = sum(s.champion_requests + s.pairs for s in strata)
    challenger_errors = sum(s.challenger_errors + s.pair_challenger_errors for s in strata)
    champion_errors = sum(s.champion_errors + s.pair_champion_errors for s in strata)
    return (
        f"challenger {_rate(challenger_errors, challenger)} ({challenger_errors:,} of {challenger:,}) against champion "
        f"{_rate(champion_errors, champion)} ({champion_errors:,} of {champion:,})"
    )


def _rate(errors: int, of: int) -> str:
    return f"{100 * errors / of:.1f} %" if of else "unknown"
