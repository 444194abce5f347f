"""What a replica, or a table of labels or outcomes, tells about guardrails beyond errors. Mergeable values.

Knows guardrails' specs and the numbers that they rest on; does not know who scores or what is decided.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from raypipe.rollout.guardrails import DisagreementRate, Guardrail, Latency, LatencyTotal, Quality, ScoreShift, key_of
from raypipe.rollout.latency import LatencyEvidence, LatencyMeter
from raypipe.stats.asymptotic import Moments
from raypipe.stats.tally import Tally, TallyMeter


@dataclass(frozen=True, slots=True)
class ArmMoments:
    """One number for each unit, by assigned arm, of units that were assigned with one share of the challenger."""

    challenger: Moments = field(default_factory=Moments)
    champion: Moments = field(default_factory=Moments)

    def merge(self, other: ArmMoments) -> ArmMoments:
        """Return the units of both."""
        return ArmMoments(self.challenger.merge(other.challenger), self.champion.merge(other.champion))


@dataclass(frozen=True, slots=True)
class Measures:
    """Evidence by guardrail (`key_of`). `merge` is associative and commutative, and `Measures()` changes nothing.

    Parameters
    ----------
    pairs
        Of guardrails on shadow pairs: one number in [-1, 1] for each pair. `score_shift`: the difference of the scores
        over the cap. `disagreement_rate`: 1 where the models decide differently, else 0. `quality`: the difference of
        the losses.
    latencies
        Of `latency` and `latency_total`.
    arms
        Of outcomes, and of `quality` where there are no pairs: moments by share.
    """

    pairs: Mapping[str, Tally] = field(default_factory=dict)
    latencies: Mapping[str, LatencyEvidence] = field(default_factory=dict)
    arms: Mapping[str, Mapping[float, ArmMoments]] = field(default_factory=dict)

    @property
    def observations(self) -> int:
        """Everything counted; never falls as evidence comes in."""
        pairs = sum(tally.count for tally in self.pairs.values())
        blocks = sum(known.surely.count for known in self.latencies.values())
        units = sum(a.challenger.count + a.champion.count for by_share in self.arms.values() for a in by_share.values())
        return round(pairs + blocks) + units

    def merge(self, other: Measures) -> Measures:
        """Return the evidence of both."""
        return Measures(
            {k: self.pairs.get(k, Tally()).merge(other.pairs.get(k, Tally())) for k in _keys(self.pairs, other.pairs)},
            {
                k: self.latencies.get(k, LatencyEvidence()).merge(other.latencies.get(k, LatencyEvidence()))
                for k in _keys(self.latencies, other.latencies)
            },
            {k: _merged(self.arms.get(k, {}), other.arms.get(k, {})) for k in _keys(self.arms, other.arms)},
        )


class MeasuresMeter:
    """Counts `Measures` in one replica, for one generation, in memory that does not grow with requests.

    Parameters
    ----------
    guardrails
        What the rollout judges; what none of them needs is not counted.
    """

    def __init__(self, guardrails: Sequence[Guardrail]) -> None:
        self._pairs: list[tuple[ScoreShift | DisagreementRate, TallyMeter]] = []
        self._calls: dict[str, LatencyMeter] = {}
        for guardrail in guardrails:
            match guardrail:
                case ScoreShift() | DisagreementRate():
                    self._pairs.append((guardrail, TallyMeter()))
                case Latency() | LatencyTotal():
                    seconds = guardrail.margin.total_seconds(), guardrail.block.total_seconds()
                    self._calls[key_of(guardrail)] = LatencyMeter(*seconds)
                case _:  # counted elsewhere: errors by their own meter, the others from tables
                    pass

    def pair(self, *, champion: float, challenger: float) -> None:
        """Count the scores that both models gave one request; a unit's first pair, as with errors."""
        for guardrail, meter in self._pairs:
            meter.add(pair_value(guardrail, champion, challenger))

    def call(self, *, unit: str, challenger: bool, seconds: float, now_s: float, total: bool = False) -> None:
        """Count how long a model took for one call, or with `total` the way to it as well."""
        meter = self._calls.get("latency_total" if total else "latency")
        if meter:
            meter.call(unit=unit, challenger=challenger, seconds=seconds, now_s=now_s)

    def measures(self) -> Measures:
        """Return everything counted so far."""
        pairs = {key_of(guardrail): meter.tally() for guardrail, meter in self._pairs}
        return Measures(pairs, {key: meter.evidence() for key, meter in self._calls.items()})


def pair_value(guardrail: ScoreShift | DisagreementRate, champion: float, challenger: float) -> float:
    """Return the number in [-1, 1] that one pair of scores adds.

    Examples
    --------
    >>> pair_value(ScoreShift(cap=0.2), 0.30, 0.35), pair_value(DisagreementRate(), 0.4, 0.6)
    (0.25, 1.0)
    """
    if isinstance(guardrail, ScoreShift):
        return round(min(1.0, max(-1.0, (challenger - champion) / guardrail.cap)), 12)
    return float((challenger >= guardrail.threshold) != (champion >= guardrail.threshold))


def loss(guardrail: Quality, score: float, label: float) -> float:
    """Return what a score costs, 0..1, once its label (0.0 or 1.0) is known.

    Examples
    --------
    >>> loss(Quality(), 0.8, 1.0), loss(Quality(loss="error"), 0.8, 0.0)
    (0.04, 1.0)
    """
    if guardrail.loss == "error":
        return float((score >= 0.5) != (label >= 0.5))
    return round(min(1.0, (score - label) ** 2), 12)


def labelled_pairs(guardrail: Quality, rows: Iterable[tuple[float, float, float]]) -> Measures:
    """Return what (champion's score, challenger's score, label) tell, one row for each unit."""
    return Measures(
        {key_of(guardrail): Tally.of(loss(guardrail, b, label) - loss(guardrail, a, label) for a, b, label in rows)}
    )


def by_arm(guardrail: Guardrail, units: Iterable[tuple[float, bool, float]]) -> Measures:
    """Return what (share at assignment, whether to the challenger, value) tell, one row for each unit.

    Rows that are not finite are left out: whoever joins them counts how many.
    """
    found: dict[float, ArmMoments] = {}
    for share, challenger, value in units:
        if math.isfinite(value):
            one = Moments(1, value)
            added = ArmMoments(challenger=one) if challenger else ArmMoments(champion=one)
            found[share] = found.get(share, ArmMoments()).merge(added)
    return Measures(arms={key_of(guardrail): found})


def _keys(one: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    return list(dict.fromkeys([*one, *other]))


def _merged(one: Mapping[float, ArmMoments], other: Mapping[float, ArmMoments]) -> dict[float, ArmMoments]:
    shares = dict.fromkeys([*one, *other])
    return {share: one.get(share, ArmMoments()).merge(other.get(share, ArmMoments())) for share in shares}
