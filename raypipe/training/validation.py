"""The judgement on a trained model: limits, the champion on the same rows, and slices of them.

Knows numbers and scores, not where they came from. A comparison that cannot be made never counts as won.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from raypipe.stats.bootstrap import Difference, Floats, paired_difference
from raypipe.training.spec import Limit, SliceSpec, ValidationSpec, VersusChampion
from raypipe.verdict import Finding, Status, Verdict, worst

# A metric of which less is better is compared with its sign turned.
_LOWER_IS_BETTER = ("log_loss", "brier")


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Both models' scores on the same validation rows.

    Parameters
    ----------
    champion
        Its version.
    labels, candidate_scores, champion_scores
        Shape (n,), in one order.
    thresholds
        Of candidate and champion.
    slices
        Values of each slice column by name, shape (n,), as text.
    """

    champion: str
    labels: Floats
    candidate_scores: Floats
    champion_scores: Floats
    thresholds: tuple[float, float]
    slices: Mapping[str, np.ndarray]


def not_compared(reason: str) -> Finding:
    """Return that there is nothing to compare with: recorded, and neither a pass nor a failure."""
    return Finding("versus_champion", Status.NOT_APPLICABLE, reason)


def incomparable(reason: str) -> Finding:
    """Return that there is a champion and it cannot be compared with: nobody knows which is better."""
    return Finding("versus_champion", Status.INSUFFICIENT, reason)


def judge(metrics: Mapping[str, float | None], spec: ValidationSpec, against: Scored | Finding) -> Verdict:
    """Return PASSED when every limit holds and the champion is not clearly better, else why not.

    Parameters
    ----------
    metrics
        By name; None, NaN and absent all mean that nothing is known.
    against
        The candidate's and the champion's scores on the same rows, or why there is nothing to compare with.
    """
    return worst([*(_judge_limit(name, metrics.get(name), limit) for name, limit in spec.absolute.items()),
                  *_compare(spec, against)])  # fmt: skip


def _judge_limit(name: str, observed: float | None, limit: Limit) -> Finding:
    bound = f"at {'least' if limit.operator == '>=' else 'most'} {limit.value:g} is required"
    if observed is None or math.isnan(observed):
        message = (
            f"{name} is not known and {bound}: give validation more labelled rows of both classes, "
            f"or correct the name in `validation.absolute`"
        )
        return Finding(name, Status.INSUFFICIENT, message, None, limit.value)
    if limit.holds(observed):
        return Finding(name, Status.PASSED, f"{name} is {observed:.4g}, {bound}", observed, limit.value)
    message = (
        f"{name} is {observed:.4g}, {bound}: look for drift in the validation period, add features or rows, "
        f"or change the limit in `validation.absolute`"
    )
    return Finding(name, Status.FAILED, message, observed, limit.value)


def _compare(spec: ValidationSpec, against: Scored | Finding) -> Iterator[Finding]:
    if spec.versus_champion is None:
        return
    if isinstance(against, Finding):
        yield against
        return
    yield _judge_difference(spec.versus_champion, against)
    if spec.slices:
        yield from _judge_slices(spec.slices, spec.versus_champion, against)


def _judge_difference(spec: VersusChampion, scored: Scored) -> Finding:
    """Return PASSED when the candidate is at most `margin` worse, with confidence.

    FAILED when it is worse by more than that, with confidence; in between the rows cannot tell, and that is no pass.
    """
    found = _difference(spec, scored, np.ones(len(scored.labels), bool), draws=1000)
    rule = f"{spec.metric} versus version {scored.champion}"
    if found is None:
        message = f"{rule} is not known: give validation more labelled rows of both classes"
        return Finding(rule, Status.INSUFFICIENT, message, None, -spec.margin)
    lower, upper = _oriented(spec.metric, found)
    value = -found.value if spec.metric in _LOWER_IS_BETTER else found.value
    said = (
        f"{spec.metric} is {found.first:.4f}, version {scored.champion} has {found.second:.4f} on the same "
        f"{found.rows:,} rows: {value:+.4f} for the candidate, between {lower:+.4f} and {upper:+.4f}"
    )
    if lower >= -spec.margin:
        return Finding(rule, Status.PASSED, f"{said}, within the margin {spec.margin:g}", value, -spec.margin)
    if upper < -spec.margin:
        return Finding(rule, Status.FAILED, f"{said}, worse than the margin {spec.margin:g}", value, -spec.margin)
    message = f"{said}; the margin {spec.margin:g} is inside, so the rows cannot tell: validate on more of them"
    return Finding(rule, Status.INSUFFICIENT, message, value, -spec.margin)


def _judge_slices(spec: SliceSpec, versus: VersusChampion, scored: Scored) -> Iterator[Finding]:
    worse = Status.WARNED if spec.severity == "warn" else Status.FAILED
    for column in spec.columns:
        values = scored.slices[column]
        for value in sorted(set(values.tolist())):
            rule, rows = f"{versus.metric}[{column}={value}]", values == value
            found = None
            if rows.sum() >= spec.min_rows:
                found = _difference(versus, scored, rows, draws=300)
            if found is None:
                message = f"{rule}: {int(rows.sum()):,} rows, at least {spec.min_rows:,} of both classes are compared"
                yield Finding(rule, Status.NOT_APPLICABLE, message, rows=int(rows.sum()))
                continue
            lower, upper = _oriented(versus.metric, found)
            said = (
                f"{rule} is {found.first:.4f}, version {scored.champion} has {found.second:.4f} on {found.rows:,} "
                f"rows, between {lower:+.4f} and {upper:+.4f}"
            )
            harmed = upper < -spec.max_drop
            message = f"{said}, worse than {spec.max_drop:g} allows" if harmed else said
            yield Finding(rule, worse if harmed else Status.PASSED, message, found.value, -spec.max_drop, found.rows)


def _difference(spec: VersusChampion, scored: Scored, rows: np.ndarray, *, draws: int) -> Difference | None:
    return paired_difference(
        spec.metric,
        scored.labels[rows],
        scored.candidate_scores[rows],
        scored.champion_scores[rows],
        threshold=scored.thresholds,
        confidence=spec.confidence,
        draws=draws,
    )


def _oriented(metric: str, found: Difference) -> tuple[float, float]:
    """Return the bounds so that more is better for the candidate."""
    return (-found.upper, -found.lower) if metric in _LOWER_IS_BETTER else (found.lower, found.upper)
