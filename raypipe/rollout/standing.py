"""What is observed of a release, what its guardrails say to it, and what is being waited for, in words.

Knows values and sentences; does not decide.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from raypipe.rollout.evidence import Evidence
from raypipe.rollout.guardrails import Guardrail
from raypipe.rollout.judge import judge_all
from raypipe.rollout.spec import ShadowStep, WeightStep
from raypipe.rollout.state import Phase, Release
from raypipe.verdict import Finding


@dataclass(frozen=True, slots=True)
class Observed:
    """What the replicas say at one moment.

    Parameters
    ----------
    expected
        Gateway replicas that should report.
    prepared
        Gateway replicas that hold the candidate, loaded, verified and warm.
    serving
        Gateway replicas that are in the state's generation, with the champion that it orders.
    refused
        Why the candidate cannot be loaded; None when nobody said so.
    smoke
        Whether the candidate answered its own example through its pinned version; None when not yet tried.
    smoke_message
        What the smoke test saw.
    challenger_expected, challenger_ready
        Challenger replicas that should run, and those that do.
    evidence
        What the gateway replicas counted in this rollout.
    circuit_open_s
        For how long a gateway has found the challenger unreachable by now.
    """

    expected: int
    prepared: int
    serving: int
    refused: str | None = None
    smoke: bool | None = None
    smoke_message: str = ""
    challenger_expected: int = 0
    challenger_ready: int = 0
    evidence: Evidence = field(default_factory=Evidence)
    circuit_open_s: float = 0.0


def judgements(state: Release) -> tuple[tuple[Guardrail, Finding], ...]:
    """Return what each guardrail says to the evidence of the whole rollout."""
    return judge_all(state.spec, state.evidence)


def standing(state: Release, observed: Observed) -> str:
    """Return a sentence on what is being waited for."""
    state = replace(state, evidence=state.evidence.merge(observed.evidence))
    match state.phase:
        case Phase.PLANNED | Phase.PREPARING:
            return loading(state, observed)
        case Phase.SHADOWING | Phase.SHIFTING | Phase.PAUSED:
            said = "; ".join(f.message for _, f in judgements(state))
            waits = "waits for a person to resume" if state.phase is Phase.PAUSED else minimum(state)[1]
            return f"{_describe(state)}: {waits}; {said}" + capacity(observed)
        case _:
            return str(state.phase)


def minimum(state: Release) -> tuple[bool, str]:
    """Return whether the step has seen enough, and the count in words."""
    asked, copied = state.evidence.load(since=state.step_since)
    kind = state.under_way.kind if state.under_way else None
    match kind:
        case ShadowStep():
            return copied >= kind.min_pairs, f"{copied:,} of {kind.min_pairs:,} pairs"
        case WeightStep():
            return asked >= kind.min_requests, f"{asked:,} of {kind.min_requests:,} challenger requests"
        case _:
            return True, "nothing to count"


def loading(state: Release, observed: Observed) -> str:
    """Return how far loading is."""
    if state.strategy == "canary" and state.phase is Phase.PLANNED:
        return f"the challenger runs in {observed.challenger_ready} of {observed.challenger_expected} replicas"
    return f"the candidate is loaded in {of_replicas(observed.prepared, observed)}"


def challenger_ready(observed: Observed) -> bool:
    """Return whether every replica of the challenger runs."""
    return 0 < observed.challenger_expected <= observed.challenger_ready


def capacity(observed: Observed) -> str:
    """Return what is said where replicas of the challenger are missing; empty where none is."""
    if challenger_ready(observed):
        return ""
    return f"; capacity: {observed.challenger_ready} of {observed.challenger_expected} challenger replicas run"


def share_of(kind: ShadowStep | WeightStep) -> str:
    """Return a step's share in words."""
    return f"{'shadow' if isinstance(kind, ShadowStep) else 'weight'} {kind.percent:g} %"


def of_replicas(count: int, observed: Observed) -> str:
    """Return a number of gateway replicas beside those that there should be."""
    return f"{count} of {observed.expected} replicas"


def _describe(state: Release) -> str:
    kind = state.under_way.kind if state.under_way else None
    return share_of(kind) if isinstance(kind, ShadowStep | WeightStep) else str(state.phase)
