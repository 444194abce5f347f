"""Rolls one candidate out: observe, decide, record, act, until the release is finished or a person must resume.

The stream of decisions is the only truth: whatever happens, starting again re-applies the last decision's traffic
and goes on from there, and what a person decides meanwhile is followed like a decision of our own. Waiting is not a
decision and leaves no trace. Does not know how traffic is moved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from raypipe.errors import ConfigError, GenerationMoved
from raypipe.ports import ModelVersion, ReleasePorts
from raypipe.rollout.decide import Step, decide, plan
from raypipe.rollout.decide import abort as decide_abort
from raypipe.rollout.decide import resume as decide_resume
from raypipe.rollout.decide import undo as decide_undo
from raypipe.rollout.evidence import Evidence
from raypipe.rollout.spec import ReleaseSpec
from raypipe.rollout.standing import Observed, standing
from raypipe.rollout.state import Phase, Release, Served, fold, target, to_evidence
from raypipe.telemetry import event

_FLOW = "release"
# Loading is short and is looked at often; evidence comes with traffic.
_LOADING_S, _JUDGING_S = 0.25, 1.0
_TOLD_EVERY = timedelta(seconds=5)
_ATTEMPTS = 5


def stream_of(name: str) -> str:
    """Return the name of a model's release stream."""
    return f"release/{name}"


def roll_out(spec: ReleaseSpec, version: ModelVersion, on: ReleasePorts, *, again: bool = False) -> Release:
    """Return where the release of `version` stands when nothing is left to do: finished, or paused for a person.

    An unfinished release of the model is brought to its end first, by its own steps. A version whose release was the
    last one is not released anew, however that ended, unless somebody asks for it with `again`.

    Raises
    ------
    GenerationMoved
        When somebody else starts a release at the same time.
    """
    name = version.name
    candidate = Served(version.version, version.digest)
    state = current(name, on)
    if state and not state.finished:
        event("release", f"going on with the release of version {state.candidate.version}, {state.phase}")
        again = False
    if state:
        # A finished release too: whoever decided it may have been killed before the traffic followed.
        state = _follow(name, state, on)
    if state and (state.phase is Phase.PAUSED or _is_done(state, candidate, again=again)):
        return state
    champion = state.in_force if state else None
    step = plan(state, name=name, candidate=candidate, champion=champion, spec=spec, now=on.now())
    return _follow(name, _record(name, step, _FLOW, on), on)


def current(name: str, on: ReleasePorts) -> Release | None:
    """Return where the release of a model stands; None before the first."""
    return fold(on.decisions.stream(stream_of(name)))


def abort(name: str, on: ReleasePorts, *, who: str, why: str) -> Release:
    """Return the aborted release; the champion answers everything from before it is recorded.

    Raises
    ------
    GenerationMoved
        When somebody else ended the release first.
    ConfigError
        When there is no release to abort.
    """
    state = _existing(name, on)
    first = state.generation
    for _ in range(_ATTEMPTS):
        if state.finished and state.generation > first:
            raise _moved(name, first, on)
        step = _asked(decide_abort, state, why)
        try:
            return _abort(name, step, who, on)
        except GenerationMoved:
            # The flow itself decided at the same moment: an abort wins over everything but another end.
            state = _existing(name, on)
    raise _moved(name, first, on)


def undo(name: str, on: ReleasePorts, *, who: str, why: str) -> Release:
    """Return the undone release: the former champion, still loaded, answers, and the registry says so.

    Raises
    ------
    GenerationMoved
        When somebody else decided first.
    ConfigError
        When there is nothing to undo.
    """
    step = _asked(decide_undo, _existing(name, on), why)
    return _follow(name, _record(name, step, who, on), on)


def resume(name: str, on: ReleasePorts, *, who: str, why: str) -> Release:
    """Return where a paused release stands after a person let it go on.

    Raises
    ------
    GenerationMoved
        When somebody else decided first.
    ConfigError
        When it is not paused.
    """
    step = _asked(lambda state, _: decide_resume(state, on.now()), _existing(name, on), why)
    step = replace(step, why=f"{step.why} ({why})")
    return _follow(name, _record(name, step, who, on), on)


def _follow(name: str, state: Release, on: ReleasePorts) -> Release:
    """Act on the state, then observe and decide until nothing is left to decide."""
    seen, told_at = Evidence(), on.now() - _TOLD_EVERY
    while True:
        if not _applied(name, state, on):
            state = _existing(name, on)
            continue
        if state.finished or state.phase is Phase.PAUSED:
            return _settled(name, state, on)
        observed = _observed(name, state, seen, on)
        seen = observed.evidence
        step = decide(state, observed, on.now())
        if step is None:
            told_at = _tell(state, observed, told_at, on)
            on.traffic.pause(_JUDGING_S if state.phase in (Phase.SHADOWING, Phase.SHIFTING) else _LOADING_S)
            # A person may have decided meanwhile.
            state = _existing(name, on)
            continue
        try:
            state = _abort(name, step, _FLOW, on) if step.what == "abort" else _record(name, step, _FLOW, on)
        except GenerationMoved as error:
            event("release", f"{error.message}: following that")
            state = _existing(name, on)


def _is_done(state: Release, candidate: Served, *, again: bool) -> bool:
    return state.candidate == candidate and (state.phase is Phase.SUCCEEDED or not again)


def _observed(name: str, state: Release, seen: Evidence, on: ReleasePorts) -> Observed:
    smoke = state.phase in (Phase.PLANNED, Phase.PREPARING)
    observed = on.traffic.observe(name, target(state), smoke=smoke)
    # What a replica that died meanwhile had counted is kept.
    return replace(observed, evidence=seen.merge(observed.evidence))


def _applied(name: str, state: Release, on: ReleasePorts) -> bool:
    """Return whether the traffic is as `state` orders; False when the stream has moved on, or has now been repaired."""
    try:
        on.traffic.apply(name, target(state))
    except GenerationMoved as error:
        newest = _existing(name, on)
        if newest.generation > state.generation:
            return False
        if error.found != state.generation + 1 or state.finished:
            raise
        # Only an abort acts before it is recorded, so this is one whose recording was cut off.
        why = f"generation {error.found} was in force without a decision: an abort whose recording was cut off"
        _record(name, decide_abort(state, why), _FLOW, on)
        return False
    return True


def _settled(name: str, state: Release, on: ReleasePorts) -> Release:
    if state.phase in (Phase.SUCCEEDED, Phase.UNDONE) and state.in_force:
        on.registry.set_champion(name, state.in_force.version)
    return state


def _abort(name: str, step: Step, who: str, on: ReleasePorts) -> Release:
    # The one decision that acts first: a store that is down must not keep a harmful model in traffic.
    on.traffic.apply(name, target(step.state))
    return _record(name, step, who, on)


def _tell(state: Release, observed: Observed, told_at: datetime, on: ReleasePorts) -> datetime:
    now = on.now()
    if now - told_at < _TOLD_EVERY:
        return told_at
    event("release", standing(state, observed), generation=state.generation)
    return now


def _asked(verb: Callable[[Release, str], Step], state: Release, why: str) -> Step:
    try:
        return verb(state, why)
    except ValueError as error:
        raise ConfigError(f"{error}: `raypipe release status` shows where it stands") from error


def _existing(name: str, on: ReleasePorts) -> Release:
    state = current(name, on)
    if state is None:
        raise ConfigError(f"model {name!r} has never been released: `raypipe run` releases its first version")
    return state


def _moved(name: str, expected: int, on: ReleasePorts) -> GenerationMoved:
    stream = stream_of(name)
    newest = on.decisions.stream(stream)[-1]
    return GenerationMoved(
        f"generation moved: expected {expected}, found {newest.generation} of {stream} ({newest.what} by {newest.who} "
        f"at {newest.at:%Y-%m-%d %H:%M:%S}Z)",
        stream=stream,
        expected=expected,
        found=newest.generation,
    )


def _record(name: str, step: Step, who: str, on: ReleasePorts) -> Release:
    stream = stream_of(name)
    generation = step.state.generation
    # The decision that the state was folded from: if the stream has moved on since, recording fails.
    previous = on.decisions.stream(stream)[generation - 2] if generation > 1 else None
    on.decisions.record(
        previous,
        stream=stream,
        at=on.now(),
        who=who,
        what=step.what,
        why=step.why,
        evidence=to_evidence(step.state),
    )
    event("release", f"{step.what}: {step.why}", generation=generation)
    return step.state
