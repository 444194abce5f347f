"""The next decision of a release, as a pure function of its state, what is observed, and the time.

Never raises traffic without evidence: a step is passed when every guardrail is SAFE and the step's minimum is reached,
harm aborts at once, and when a deadline comes first, the file says what happens. Knows no clock and no endpoint.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from raypipe.rollout.spec import AdoptStep, PauseStep, ReleaseSpec, ShadowStep, WeightStep
from raypipe.rollout.standing import (
    Observed,
    capacity,
    challenger_ready,
    judgements,
    loading,
    minimum,
    of_replicas,
    share_of,
)
from raypipe.rollout.state import TRANSITIONS, Phase, Release, Served
from raypipe.verdict import Status


@dataclass(frozen=True, slots=True)
class Step:
    """A decision to commit: what, why, and the state after it."""

    what: str
    why: str
    state: Release


def plan(
    current: Release | None,
    *,
    name: str,
    candidate: Served,
    champion: Served | None,
    spec: ReleaseSpec,
    now: datetime,
) -> Step:
    """Return the decision that starts a release of `candidate`.

    Raises
    ------
    ValueError
        When a release is still under way.
    """
    phase = TRANSITIONS.get((current.phase if current else None, "plan"))
    if phase is None:
        raise ValueError(f"a release of version {current.candidate.version if current else ''} is still under way")
    generation = (current.generation if current else 0) + 1
    over = f"over version {champion.version}" if champion else "as the first champion"
    why = f"version {candidate.version} passed its gates and is to be released {over}"
    deadline_at = now + spec.deadline
    state = Release(phase, generation, candidate, champion, deadline_at, why, f"{name}-{generation}", spec)
    return Step("plan", why, state)


def decide(state: Release, observed: Observed, now: datetime) -> Step | None:
    """Return the next decision, or None to go on waiting.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> now = datetime(2026, 1, 1, tzinfo=UTC)
    >>> state = Release(Phase.PLANNED, 1, Served("1", "d"), None, now, "")
    >>> decide(state, Observed(expected=1, prepared=0, serving=0), now) is None
    True
    >>> decide(state, Observed(expected=1, prepared=1, serving=0, smoke=True), now).what
    'adopt'
    """
    state = replace(state, evidence=state.evidence.merge(observed.evidence))
    match state.phase:
        case Phase.PLANNED:
            return _candidate_refused(state, observed) or _after_planning(state, observed, now)
        case Phase.SHADOWING | Phase.SHIFTING:
            return _harm(state, observed) or _after_step(state, observed, now)
        case Phase.PAUSED:
            return _harm(state, observed)
        case Phase.PREPARING:
            return _candidate_refused(state, observed) or _harm(state, observed) or _after_loading(state, observed, now)
        case Phase.ADOPTING:
            return _after_adoption(state, observed, now)
        case Phase.SUCCEEDED | Phase.ABORTED | Phase.UNDONE:
            return None
        case _:
            assert_never(state.phase)


def resume(state: Release, now: datetime) -> Step:
    """Return the decision with which a person ends a pause.

    Raises
    ------
    ValueError
        When the release is not paused.
    """
    if state.phase is not Phase.PAUSED:
        raise ValueError(f"the release of version {state.candidate.version} is {state.phase}, not paused")
    if isinstance(state.under_way and state.under_way.kind, PauseStep):
        return _next(state, "resumed", now)
    # Paused at a deadline: the same step again, with a new one.
    return _next(replace(state, step=state.step - 1), "resumed with a new deadline", now)


def abort(state: Release, why: str) -> Step:
    """Return the decision that gives everything to the champion.

    Raises
    ------
    ValueError
        When the release is finished.
    """
    if state.finished:
        raise ValueError(f"the release of version {state.candidate.version} is {state.phase} already")
    return _step(state, "abort", why)


def undo(state: Release, why: str) -> Step:
    """Return the decision that gives everything back to the former champion.

    Raises
    ------
    ValueError
        When there is nothing to undo, or no former champion.
    """
    if state.phase is not Phase.SUCCEEDED:
        raise ValueError(f"the release of version {state.candidate.version} is {state.phase}, not succeeded")
    if state.champion is None:
        raise ValueError(f"version {state.candidate.version} was the first champion: there is none to return to")
    return _step(state, "undo", why)


def _candidate_refused(state: Release, observed: Observed) -> Step | None:
    if observed.refused:
        return _step(state, "abort", f"a replica refused the candidate: {observed.refused}")
    if observed.smoke is False:
        return _step(state, "abort", f"the smoke test failed: {observed.smoke_message}")
    return None


def _after_planning(state: Release, observed: Observed, now: datetime) -> Step | None:
    if state.strategy != "canary":
        return _after_loading(state, observed, now)
    if challenger_ready(observed) and observed.smoke:
        running = f"the challenger runs in {observed.challenger_ready} of {observed.challenger_expected} replicas"
        return _next(state, f"{running}; {observed.smoke_message}", now)
    return _late(state, loading(state, observed), now)


def _after_loading(state: Release, observed: Observed, now: datetime) -> Step | None:
    if 0 < observed.expected <= observed.prepared and observed.smoke:
        return _step(state, "adopt", f"loaded in {of_replicas(observed.prepared, observed)}; {observed.smoke_message}")
    return _late(state, loading(state, observed), now)


def _after_adoption(state: Release, observed: Observed, now: datetime) -> Step | None:
    awaited = [f for g, f in judgements(state) if g.needed_for == "success" and not g.dry_run]
    said = "; ".join(
        [f"the candidate answers in {of_replicas(observed.serving, observed)}", *(f.message for f in awaited)]
    )
    # Only a challenger was judged: a first champion, or one that took over at once, has nothing to be compared with.
    safe = state.strategy != "canary" or all(f.status is Status.SAFE for f in awaited)
    if 0 < observed.expected <= observed.serving and safe:
        return _step(state, "succeed", said)
    return _late(state, said, now)


def _harm(state: Release, observed: Observed) -> Step | None:
    for guardrail, finding in judgements(state):
        if finding.status is Status.HARMFUL and not guardrail.dry_run:
            return _step(state, "abort", finding.message)
    if observed.refused:
        return _step(state, "abort", f"the challenger is unhealthy: {observed.refused}")
    limit_s = state.spec.challenger.unhealthy.total_seconds()
    if observed.circuit_open_s > limit_s:
        return _step(
            state,
            "abort",
            f"the challenger is unhealthy: it has not been reached for {observed.circuit_open_s:.0f} s, "
            f"`release.challenger.unhealthy` allows {limit_s:.0f} s",
        )
    return None


def _after_step(state: Release, observed: Observed, now: datetime) -> Step | None:
    deciding = [f for g, f in judgements(state) if g.needed_for == "step" and not g.dry_run]
    said = "; ".join(f.message for f in deciding)
    reached, counted = minimum(state)
    ready = challenger_ready(observed)
    if reached and ready and all(f.status is Status.SAFE for f in deciding):
        return _next(state, f"{counted}; {said}", now)
    if now <= state.deadline_at:
        return None
    why = f"{counted} at the deadline {_at(state.deadline_at)}; {said}{capacity(observed)}"
    if state.spec.on_deadline == "pause":
        return _step(state, "pause", why)
    complete = observed.expected > 0 and observed.serving >= observed.expected and reached and ready
    if state.spec.on_deadline == "advance_if_not_harmful" and complete:
        return _next(state, f"{why}; nothing harmful was found", now)
    return _step(state, "abort", why)


def _next(state: Release, why: str, now: datetime) -> Step:
    """Return the decision that begins the step after the one under way."""
    begun = replace(state, step=state.step + 1, step_since=state.generation + 1)
    kind = state.spec.steps[begun.step].kind
    match kind:
        case ShadowStep():
            return _step(replace(begun, deadline_at=now + kind.deadline), "shadow", f"{why}; now {share_of(kind)}")
        case WeightStep():
            return _step(replace(begun, deadline_at=now + kind.deadline), "shift", f"{why}; now {share_of(kind)}")
        case PauseStep():
            return _step(begun, "pause", f"{why}; now a person must resume")
        case AdoptStep():
            begun = replace(begun, deadline_at=now + state.spec.deadline)
            return _step(begun, "prepare", f"{why}; now to be loaded in every gateway replica")
        case _:
            assert_never(kind)


def _late(state: Release, waiting: str, now: datetime) -> Step | None:
    if now <= state.deadline_at:
        return None
    return _step(state, "abort", f"{waiting} at the deadline {_at(state.deadline_at)}")


def _step(state: Release, what: str, why: str) -> Step:
    after = replace(state, phase=TRANSITIONS[state.phase, what], generation=state.generation + 1, reason=why)
    return Step(what, why, after)


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"
