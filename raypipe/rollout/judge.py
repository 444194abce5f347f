"""What each guardrail says to the evidence of a rollout: HARMFUL, SAFE or INSUFFICIENT, with its numbers.

| guardrail | estimand | an observation | holds exactly if |
|---|---|---|---|
| `error_rate` | difference of the arms' error rates, by assigned arm | a unit, once | assignment ignores the past |
| `latency` | mean of who is above whose p95, capped | a block of calls | but for the margin, arms are alike |
| `score_shift` | mean capped difference of scores, both directions | a shadow pair | |
| `disagreement_rate` | share of pairs decided differently | a shadow pair | |
| `quality` | mean difference of losses | a labelled pair | being labelled ignores the models |
| `quality` without pairs, `outcome` | difference of the arms' means | a unit, once | never exactly: large samples |

All but the last are bounded means (`stats.betting`): the running mean of conditional means is covered at all times,
whether or not it is constant. The last is asymptotic (`stats.asymptotic`). Knows evidence; does not decide what
follows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import assert_never

from raypipe.rollout.analysis import compared, judge_error_rate, unknown
from raypipe.rollout.evidence import Evidence
from raypipe.rollout.guardrails import (
    DisagreementRate,
    ErrorRate,
    Guardrail,
    Latency,
    LatencyTotal,
    Outcome,
    Quality,
    ScoreShift,
    key_of,
)
from raypipe.rollout.latency import CAP, SLOW_RATE, LatencyEvidence
from raypipe.rollout.measures import ArmMoments
from raypipe.rollout.spec import ReleaseSpec
from raypipe.stats.asymptotic import normal_boundary
from raypipe.stats.betting import Cells, Floats, bounds
from raypipe.stats.sequential import Interval
from raypipe.stats.tally import Tally
from raypipe.verdict import Finding, Status

# Challenger units at which the asymptotic bound is tight; of an outcome that takes more it is a few percent wider.
TIGHT_AT = 2000.0
# Labelled units of each arm below which the normal approximation is not trusted.
_FEWEST_LABELS = 200


def judge(guardrail: Guardrail, evidence: Evidence, *, alpha: float, beta: float, processes: int = 1) -> Finding:
    """Return what a guardrail says to the evidence of the whole rollout.

    Parameters
    ----------
    alpha
        Probability that HARMFUL is ever said though the harm so far is within the margin, 0..1.
    beta
        Probability that SAFE is ever said though it is beyond, 0..1.
    processes
        How many replica processes may each have counted the same units; 1 where each request is a unit.
    """
    match guardrail:
        case ErrorRate():
            errors = evidence.errors()
            return judge_error_rate(errors, margin=guardrail.margin, alpha=alpha, beta=beta, processes=processes)
        case Latency() | LatencyTotal():
            known = evidence.measures().latencies.get(key_of(guardrail), LatencyEvidence())
            # Replicas ask the same challenger at the same time: their blocks are no independent witnesses.
            return _slowness(guardrail, known, alpha, beta, evidence.processes)
        case ScoreShift():
            return _shift(guardrail, _pairs(guardrail, evidence), alpha, beta, processes)
        case DisagreementRate():
            return _disagreement(guardrail, _pairs(guardrail, evidence), alpha, beta, processes)
        case Quality():
            tally = _pairs(guardrail, evidence)
            if not tally.masses:
                arms = evidence.measures().arms.get(key_of(guardrail), {})
                return _arms("quality", arms, guardrail.margin, alpha, beta, fewest=_FEWEST_LABELS)
            found = _bounds(tally, -1.0, alpha, beta, processes)
            said = f"quality: over {tally.count:,.0f} labelled pairs the loss differs by {tally.mean:.4f}"
            return compared("quality", f"{said}{_between(found)}", tally.mean, found, guardrail.margin)
        case Outcome():
            arms = evidence.measures().arms.get(key_of(guardrail), {})
            sign = -1.0 if guardrail.better == "higher" else 1.0
            return _arms(key_of(guardrail), arms, guardrail.margin, alpha, beta, fewest=guardrail.min_units, sign=sign)
        case _:
            assert_never(guardrail)


def judge_all(spec: ReleaseSpec, evidence: Evidence) -> tuple[tuple[Guardrail, Finding], ...]:
    """Return what each guardrail of a spec says, with its part of `alpha`."""
    # A user comes again, through any replica, and each process counts whom it has not seen itself.
    processes = evidence.processes if spec.unit.header or spec.unit.field else 1
    alpha, beta = spec.alpha_share, spec.beta
    return tuple((g, judge(g, evidence, alpha=alpha, beta=beta, processes=processes)) for g in spec.guardrails)


def _slowness(
    guardrail: Latency | LatencyTotal, known: LatencyEvidence, alpha: float, beta: float, processes: int
) -> Finding:
    rule = guardrail.metric
    if not known.surely.masses:
        return unknown(rule, 0.0)
    least = _bounds(known.surely, -1.0, alpha, beta, processes)
    most = _bounds(known.perhaps, -1.0, alpha, beta, processes)
    found = Interval(least.lower * CAP, most.upper * CAP)
    ours, theirs = known.challenger.quantile(1 - SLOW_RATE), known.champion.quantile(1 - SLOW_RATE)
    assert ours is not None
    assert theirs is not None
    excess = known.surely.mean * CAP
    allowed_ms = guardrail.margin.total_seconds() * 1000
    said = (
        f"{rule}: p95 {ours * 1000:.1f} ms against {theirs * 1000:.1f} ms in {known.surely.count:,.0f} blocks; "
        f"{100 * excess:+.1f} % more of the challenger's calls are above the other's p95 than of the champion's, with "
        f"{allowed_ms:g} ms allowed{_between(found)}"
    )
    return compared(rule, said, excess, found, 0.0, "limit")


def _shift(guardrail: ScoreShift, tally: Tally, alpha: float, beta: float, processes: int) -> Finding:
    if not tally.masses:
        return unknown("score_shift", guardrail.margin)
    # Either direction is harm, so each has half of alpha; SAFE has to be shown of both, each at beta.
    cells, masses = _divided(tally, -1.0, processes)
    up, down = (bounds(c, masses, alpha_lower=alpha / 2, alpha_upper=beta) for c in (cells, cells.mirrored()))
    cap, mean = guardrail.cap, tally.mean * guardrail.cap
    amount = Interval(max(up.lower, down.lower) * cap, max(up.upper, down.upper) * cap)
    said = (
        f"score_shift: over {tally.count:,.0f} pairs the scores differ by {mean:+.4f} on average; the difference is "
        f"between {max(up.lower, -down.upper) * cap:+.4f} and {min(up.upper, -down.lower) * cap:+.4f}"
    )
    return compared("score_shift", said, abs(mean), amount, guardrail.margin)


def _disagreement(guardrail: DisagreementRate, tally: Tally, alpha: float, beta: float, processes: int) -> Finding:
    if not tally.masses:
        return unknown("disagreement_rate", guardrail.limit)
    found = _bounds(tally, 0.0, alpha, beta, processes)
    said = f"disagreement_rate: {100 * tally.mean:.1f} % of {tally.count:,.0f} pairs{_between(found)}"
    return compared("disagreement_rate", said, tally.mean, found, guardrail.limit, "limit")


def _arms(
    rule: str,
    by_share: Mapping[float, ArmMoments],
    margin: float,
    alpha: float,
    beta: float,
    *,
    fewest: int,
    sign: float = 1.0,
) -> Finding:
    """Return a judgement of the difference of the arms' means, where `sign` makes harm positive.

    Shares are strata: the difference within each, weighted by the challenger units that its share expects.
    """
    challenger = sum(a.challenger.count for a in by_share.values())
    champion = sum(a.champion.count for a in by_share.values())
    strata = {p: a for p, a in by_share.items() if min(a.challenger.count, a.champion.count) > 1}
    counted = f"{challenger:,} units of the challenger and {champion:,} of the champion"
    if min(challenger, champion) < fewest or not strata:
        said = f"{rule}: {counted}, at least {fewest:,} of each are needed"
        return Finding(rule, Status.INSUFFICIENT, said, None, margin)
    weights = {p: p * (a.challenger.count + a.champion.count) for p, a in strata.items()}
    total = sum(weights.values())
    difference = (
        sign * sum(w * (strata[p].challenger.mean - strata[p].champion.mean) for p, w in weights.items()) / total
    )
    spread = sum(w * w * _variance(strata[p]) for p, w in weights.items())
    scale = math.sqrt(spread / total) / total
    found = Interval(
        difference - scale * normal_boundary(total, alpha, tightest_at=TIGHT_AT),
        difference + scale * normal_boundary(total, beta, tightest_at=TIGHT_AT),
    )
    said = (
        f"{rule}: over {counted} the challenger is {'worse' if difference > 0 else 'better'} by {abs(difference):.4g}"
    )
    return compared(rule, f"{said}{_between(found)}", difference, found, margin)


def _variance(arms: ArmMoments) -> float:
    return arms.challenger.variance / arms.challenger.count + arms.champion.variance / arms.champion.count


def _pairs(guardrail: Guardrail, evidence: Evidence) -> Tally:
    return evidence.measures().pairs.get(key_of(guardrail), Tally())


def _bounds(tally: Tally, low: float, alpha: float, beta: float, processes: int) -> Interval:
    cells, masses = _divided(tally, low, processes)
    return bounds(cells, masses, alpha_lower=alpha, alpha_upper=beta)


def _divided(tally: Tally, low: float, processes: int) -> tuple[Cells, Floats]:
    cells, masses = tally.cells(low=low)
    return cells, masses / max(1, processes)


def _between(found: Interval) -> str:
    return f"; it is between {found.lower:.4f} and {found.upper:.4f}"
