"""Whether to retrain: fire or hold, as a pure function of what was seen and when the last retraining was started."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, assert_never

import numpy as np

from raypipe.drift.detect import judge_shift
from raypipe.drift.spec import MonitorSpec, OnDrift, OnQuality, OnVolume, TriggersSpec
from raypipe.profile import SCORE, Profile
from raypipe.stats.bootstrap import Floats, interval_of
from raypipe.verdict import Finding, Status


@dataclass(frozen=True, slots=True, eq=False)
class Live:
    """What was answered in a window.

    Parameters
    ----------
    since, until
        The window, aware UTC.
    version
        Whose predictions.
    rows
        How many.
    profile
        Of their inputs, and of the scores under `SCORE`.
    labels, scores
        Shape (n,): labels known at the time of the look, 0.0 or 1.0, and the scores of the same rows.
    """

    since: datetime
    until: datetime
    version: str
    rows: int
    profile: Profile
    labels: Floats
    scores: Floats


@dataclass(frozen=True, slots=True)
class Judged:
    """A decision to commit: fire or hold, and why."""

    what: Literal["fire", "hold"]
    why: str


def judge_live(live: Live, reference: Profile, expected: float | None, spec: MonitorSpec) -> tuple[Finding, ...]:
    """Return a finding for each input, for the score, and for the quality.

    Parameters
    ----------
    reference
        Of the training rows, with the validation scores under `SCORE`.
    expected
        What the champion reached in validation, in the metric of `spec.quality`.
    """
    if live.rows < spec.min_rows:
        said = (
            f"{live.rows:,} predictions from {live.since:%Y-%m-%d %H:%M}Z on, at least {spec.min_rows:,} tell something"
        )
        return (Finding("rows", Status.INSUFFICIENT, said, live.rows, spec.min_rows, live.rows),)
    limits = spec.drift
    return (
        *(
            judge_shift(name, reference.columns.get(name), column, limits.features.psi)
            for name, column in live.profile.columns.items()
            # Time goes on: a timestamp always moves, and says nothing by it.
            if name != SCORE and column.type != "timestamp"
        ),
        judge_shift("score", reference.columns.get(SCORE), live.profile.columns[SCORE], limits.score.psi),
        judge_quality(live, expected, spec),
    )


def judge_quality(live: Live, expected: float | None, spec: MonitorSpec) -> Finding:
    """Return HARMFUL when the metric is worse than `expected` by more than the allowed drop, with 95 % confidence."""
    limit = spec.quality
    rule, labelled = limit.metric, len(live.labels)
    share = f"{labelled:,} of {live.rows:,} predictions have a label"
    if labelled < limit.min_labels or expected is None:
        missing = (
            f"at least {limit.min_labels:,} tell something" if expected is not None else "the reference is missing"
        )
        return Finding(rule, Status.INSUFFICIENT, f"{rule}: {share}, {missing}", None, limit.drop, labelled)
    found = interval_of(limit.metric, live.labels, live.scores)
    if found is None:
        return Finding(rule, Status.INSUFFICIENT, f"{rule}: {share}, of one class only", None, limit.drop, labelled)
    value, lower, upper = found
    sign = 1 if limit.metric == "auc" else -1
    dropped = sign * (expected - value)
    # Harm is certain when even the better end of the interval is too far down.
    least = sign * (expected - (upper if sign > 0 else lower))
    said = (
        f"{rule} is {value:.4f} (between {lower:.4f} and {upper:.4f}), validation had {expected:.4f}: a drop of "
        f"{dropped:+.4f}, {limit.drop:g} is allowed; {share}"
    )
    return Finding(rule, Status.HARMFUL if least > limit.drop else Status.SAFE, said, dropped, limit.drop, labelled)


def decide(
    findings: Sequence[Finding],
    live: Live,
    spec: TriggersSpec,
    *,
    quality: str,
    last_fired_at: datetime | None,
    running: str | None,
    now: datetime,
) -> Judged:
    """Return fire, or hold, with the reason in words.

    Parameters
    ----------
    quality
        Rule of the quality finding.
    running
        A retraining that has not ended; None when there is none.
    """
    reasons = [reason for trigger in spec.any_of for reason in _reasons(trigger, findings, live, quality)]
    if not reasons:
        known = [f for f in findings if f.status is not Status.INSUFFICIENT]
        why = "; ".join(f.message for f in findings if f.rule in (quality, "psi(score)", "rows"))
        return Judged("hold", why if known or why else "nothing is known")
    why = "; ".join(reasons)
    if running:
        return Judged("hold", f"{why}; but the retraining {running} has not ended")
    if last_fired_at and now - last_fired_at < spec.cooldown:
        until = last_fired_at + spec.cooldown
        return Judged("hold", f"{why}; but the last retraining was started at {last_fired_at:%Y-%m-%d %H:%M}Z, and the "
                              f"cooldown lasts until {until:%Y-%m-%d %H:%M}Z")  # fmt: skip
    return Judged("fire", why)


def _reasons(
    trigger: OnQuality | OnDrift | OnVolume, findings: Sequence[Finding], live: Live, quality: str
) -> Iterable[str]:
    harmful = {f.rule: f.message for f in findings if f.status is Status.HARMFUL}
    match trigger:
        case OnQuality():
            return [harmful[quality]] if quality in harmful else []
        case OnDrift(of="score"):
            return [harmful["psi(score)"]] if "psi(score)" in harmful else []
        case OnDrift():
            return [m for rule, m in harmful.items() if rule.startswith("psi(") and rule != "psi(score)"]
        case OnVolume():
            return (
                [f"{live.rows:,} predictions, {trigger.rows:,} start a retraining"] if live.rows >= trigger.rows else []
            )
        case _:
            assert_never(trigger)


def empty(version: str, since: datetime, until: datetime) -> Live:
    """Return a window in which nothing was answered."""
    return Live(since, until, version, 0, Profile.empty(), np.zeros(0), np.zeros(0))
