"""The next step of a release, as a pure function of its state, what is observed, and the time.

Never raises traffic without evidence: until every replica has loaded the candidate and it has passed its smoke
test, the champion keeps answering; when the deadline comes first, the release is aborted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from raypipe.rollout.state import TRANSITIONS, Phase, Release, Served


@dataclass(frozen=True, slots=True)
class Observed:
    """What the replicas say at one moment.

    Parameters
    ----------
    expected
        Replicas that should report.
    prepared
        Replicas that hold the candidate, loaded, verified and warm.
    serving
        Replicas whose champion is the one that the state orders, in its generation or a later one.
    refused
        Why a replica cannot load the candidate; None when none said so.
    smoke
        Whether the candidate answered its own example through its pinned version; None when not yet tried.
    smoke_message
        What the smoke test saw.
    """

    expected: int
    prepared: int
    serving: int
    refused: str | None = None
    smoke: bool | None = None
    smoke_message: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """A decision to commit: what, why, and the state after it."""

    what: str
    why: str
    state: Release


def plan(
    current: Release | None, candidate: Served, champion: Served | None, deadline_at: datetime
) -> Step:  # fmt: skip
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
    return Step("plan", why, Release(phase, generation, candidate, champion, deadline_at, why))


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
    ready = observed.expected > 0 and observed.prepared >= observed.expected
    match state.phase:
        case Phase.PLANNED:
            if observed.refused:
                return _step(state, "abort", f"a replica refused the candidate: {observed.refused}")
            if ready and observed.smoke is False:
                return _step(state, "abort", f"the smoke test failed: {observed.smoke_message}")
            if ready and observed.smoke:
                return _step(state, "adopt", f"loaded in {_of(observed.prepared, observed)}; {observed.smoke_message}")
            waiting = f"the candidate is loaded in {_of(observed.prepared, observed)}"
        case Phase.ADOPTING:
            if 0 < observed.expected <= observed.serving:
                return _step(state, "succeed", f"the candidate answers in {_of(observed.serving, observed)}")
            waiting = f"the candidate answers in {_of(observed.serving, observed)}"
        case Phase.SUCCEEDED | Phase.ABORTED:
            return None
    if now > state.deadline_at:
        return _step(state, "abort", f"{waiting} at the deadline {state.deadline_at:%Y-%m-%d %H:%M:%S}Z")
    return None


def _step(state: Release, what: str, why: str) -> Step:
    after = replace(state, phase=TRANSITIONS[state.phase, what], generation=state.generation + 1, reason=why)
    return Step(what, why, after)


def _of(count: int, observed: Observed) -> str:
    return f"{count} of {observed.expected} replicas"
