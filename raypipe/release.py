"""Rolls one candidate out: observe, decide, record, act, until the release is finished.

The stream of decisions is the only truth: whatever happens, starting again re-applies the last decision's traffic
and goes on from there. Waiting is not a decision and leaves no trace. Does not know how traffic is moved.
"""

from __future__ import annotations

from raypipe.config import Pipeline
from raypipe.ports import Backends, ModelVersion
from raypipe.rollout.decide import Step, decide, plan
from raypipe.rollout.state import Phase, Release, Served, fold, target, to_evidence
from raypipe.telemetry import event


def stream_of(name: str) -> str:
    """Return the name of a model's release stream."""
    return f"release/{name}"


def roll_out(pipeline: Pipeline, version: ModelVersion, on: Backends) -> Release:
    """Return where the release of `version` ended; afterwards it is the champion, or the former one still is.

    Raises
    ------
    GenerationMoved
        When somebody else decides on the same release at the same time.
    """
    candidate = Served(version.version, version.digest)
    state = current(pipeline.spec.name, on)
    if state and not state.finished:
        event("release", f"going on with the release of version {state.candidate.version}, {state.phase}")
    if state:
        # A finished release too: whoever decided it may have been killed before the traffic followed.
        state = _follow(pipeline, state, on)
    if state and state.phase is Phase.SUCCEEDED and state.candidate == candidate:
        return state
    champion = state.in_force if state else None
    deadline_at = on.now() + pipeline.spec.release.deadline
    step = plan(state, candidate, champion, deadline_at)
    return _follow(pipeline, _record(pipeline, step, on), on)


def current(name: str, on: Backends) -> Release | None:
    """Return where the release of a model stands; None before the first."""
    return fold(on.decisions.stream(stream_of(name)))


def _follow(pipeline: Pipeline, state: Release, on: Backends) -> Release:
    """Act on the state, then observe and decide until nothing is left to decide."""
    while True:
        ordered = target(state)
        on.traffic.apply(pipeline, ordered)
        if state.phase is Phase.SUCCEEDED:
            on.registry.set_champion(pipeline.spec.name, state.candidate.version)
        if state.finished:
            return state
        observed = on.traffic.observe(pipeline, ordered, smoke=state.phase is Phase.PLANNED)
        step = decide(state, observed, on.now())
        if step is None:
            on.traffic.pause()
        else:
            state = _record(pipeline, step, on)


def _record(pipeline: Pipeline, step: Step, on: Backends) -> Release:
    stream = stream_of(pipeline.spec.name)
    generation = step.state.generation
    # The decision that the state was folded from: if the stream has moved on since, recording fails.
    previous = on.decisions.stream(stream)[generation - 2] if generation > 1 else None
    on.decisions.record(
        previous,
        stream=stream,
        at=on.now(),
        who="release",
        what=step.what,
        why=step.why,
        evidence=to_evidence(step.state),
    )
    event("release", f"{step.what}: {step.why}", generation=generation)
    return step.state
