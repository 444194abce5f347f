"""What is known about a challenger's errors: a value that each gateway replica counts and that can be summed.

Knows counts, arms and what they say about a margin. Does not know where requests come from or what is decided.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from raypipe.stats.sequential import interval
from raypipe.verdict import Finding, Status


@dataclass(frozen=True, slots=True)
class ErrorEvidence:
    """Errors by assigned arm, and the sums that a confidence sequence of their difference needs. Mergeable.

    One observation is one unit (or one shadow pair), counted once in a rollout. A canary observation with challenger
    share p, arm A (1: challenger) and error e (0 or 1) adds X = (A - p) e, whose mean is p (1 - p) times the
    difference of the arms' error rates; a pair adds X = (e_challenger - e_champion) / 2. Both lie in an interval of
    length 1, so strata of different shares add up.

    Parameters
    ----------
    challenger_requests, challenger_errors, champion_requests, champion_errors
        Units by assigned arm (intention to treat), and those of them whose arm failed.
    pairs, pair_challenger_errors, pair_champion_errors
        Shadow pairs, and those of them that an arm failed.
    total
        Sum of X.
    variation
        Sum of (X - mean of the X before it)^2: a predictable empirical variance (Howard, Ramdas, McAuliffe and Sekhon
        2021, theorem 4).
    weight
        Sum of p (1 - p) over units, and of 1/2 over pairs: `total / weight` estimates the difference.
    """

    challenger_requests: int = 0
    challenger_errors: int = 0
    champion_requests: int = 0
    champion_errors: int = 0
    pairs: int = 0
    pair_challenger_errors: int = 0
    pair_champion_errors: int = 0
    total: float = 0.0
    variation: float = 0.0
    weight: float = 0.0

    def merge(self, other: ErrorEvidence) -> ErrorEvidence:
        """Return the evidence of both; associative, commutative, and `ErrorEvidence()` changes nothing."""
        return ErrorEvidence(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def once_each(self, processes: int) -> ErrorEvidence:
        """Return the evidence as if each unit had been counted once, though each of `processes` may have counted it.

        A unit that is counted r times with the same outcome adds r X to `total`. Divided by `processes`, it adds at
        most X, so the increments keep their range; the variation that is kept, r X² / processes, is at least that of
        what is added, (r X / processes)²: the bounds are wider than they need be, and hold.
        """
        n = max(1, processes)
        return replace(self, total=self.total / n, variation=self.variation / n, weight=self.weight / n)


class ErrorMeter:
    """Counts `ErrorEvidence` one observation at a time; lives in one thread of one replica."""

    __slots__ = ("_challenger", "_champion", "_count", "_pairs", "_total", "_variation", "_weight")

    def __init__(self) -> None:
        self._challenger = [0, 0]
        self._champion = [0, 0]
        self._pairs = [0, 0, 0]
        self._count = 0
        self._total = self._variation = self._weight = 0.0

    def request(self, *, challenger: bool, share: float, failed: bool) -> None:
        """Count one unit that was assigned with challenger share `share` (0..1, exclusive)."""
        arm = self._challenger if challenger else self._champion
        arm[0] += 1
        arm[1] += failed
        self._add((challenger - share) * failed, share * (1 - share))

    def pair(self, *, challenger_failed: bool, champion_failed: bool) -> None:
        """Count one request that both arms were asked."""
        self._pairs[0] += 1
        self._pairs[1] += challenger_failed
        self._pairs[2] += champion_failed
        self._add((challenger_failed - champion_failed) / 2, 0.5)

    def evidence(self) -> ErrorEvidence:
        """Return everything counted so far."""
        return ErrorEvidence(
            challenger_requests=self._challenger[0],
            challenger_errors=self._challenger[1],
            champion_requests=self._champion[0],
            champion_errors=self._champion[1],
            pairs=self._pairs[0],
            pair_challenger_errors=self._pairs[1],
            pair_champion_errors=self._pairs[2],
            total=self._total,
            variation=self._variation,
            weight=self._weight,
        )

    def _add(self, x: float, weight: float) -> None:
        expected = self._total / self._count if self._count else 0.0
        self._variation += (x - expected) ** 2
        self._total += x
        self._count += 1
        self._weight += weight


def judge_error_rate(evidence: ErrorEvidence, *, margin: float, alpha: float, beta: float) -> Finding:
    """Return whether the challenger's error rate exceeds the champion's by more than `margin`.

    The estimand is the difference of the arms' error rates by assigned arm, averaged over the observations with the
    weights of `ErrorEvidence.weight`. HARMFUL is wrong at any time of the rollout with probability at most `alpha`,
    SAFE with at most `beta`, if each observation's assignment does not depend on what came before it; error rates may
    change with time (`stats.sequential`).

    Parameters
    ----------
    margin
        Difference, 0..1.
    alpha, beta
        One-sided error probabilities, 0..1.
    """
    bounds = interval(
        total=evidence.total,
        variation=evidence.variation,
        weight=evidence.weight,
        alpha_lower=alpha,
        alpha_upper=beta,
    )
    arms = evidence.challenger_requests and evidence.champion_requests
    if not evidence.weight or not (evidence.pairs or arms):
        return Finding("error_rate", Status.INSUFFICIENT, "error_rate: nothing is known yet", None, margin)
    said = f"error_rate: {_rates(evidence)}; the difference is between {bounds.lower:.4f} and {bounds.upper:.4f}"
    difference = evidence.total / evidence.weight
    if bounds.lower > margin:
        return Finding("error_rate", Status.HARMFUL, f"{said}, above the margin {margin:g}", difference, margin)
    if bounds.upper < margin:
        return Finding("error_rate", Status.SAFE, f"{said}, below the margin {margin:g}", difference, margin)
    return Finding("error_rate", Status.INSUFFICIENT, f"{said}, the margin is {margin:g}", difference, margin)


def _rates(evidence: ErrorEvidence) -> str:
    challenger = evidence.challenger_requests + evidence.pairs
    champion = evidence.champion_requests + evidence.pairs
    challenger_errors = evidence.challenger_errors + evidence.pair_challenger_errors
    champion_errors = evidence.champion_errors + evidence.pair_champion_errors
    return (
        f"challenger {_rate(challenger_errors, challenger)} ({challenger_errors:,} of {challenger:,}) against champion "
        f"{_rate(champion_errors, champion)} ({champion_errors:,} of {champion:,})"
    )


def _rate(errors: int, of: int) -> str:
    return f"{100 * errors / of:.1f} %" if of else "unknown"
