"""Where a release stands: a fold of its decisions, and what traffic each phase orders.

Knows phases, versions and traffic as values. Does not know who serves or where decisions are kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from raypipe.decision import Decision
from raypipe.rollout.evidence import Evidence
from raypipe.rollout.spec import ReleaseSpec, ShadowStep, StepSpec, WeightStep


class Phase(StrEnum):
    """Where a release stands. Transitions are `TRANSITIONS`, and no others exist."""

    PLANNED = "planned"
    """The candidate is being loaded: as a challenger where it is to be tried, else in every gateway replica."""
    SHADOWING = "shadowing"
    SHIFTING = "shifting"
    PAUSED = "paused"
    """A person must resume; the challenger keeps the share that it has, as long as somebody asks for evidence."""
    PREPARING = "preparing"
    """The challenger has passed and is being loaded in every gateway replica, which it serves meanwhile as before."""
    ADOPTING = "adopting"
    SUCCEEDED = "succeeded"
    ABORTED = "aborted"
    UNDONE = "undone"


_FINISHED = (Phase.SUCCEEDED, Phase.ABORTED, Phase.UNDONE)
_TRIED = (Phase.PLANNED, Phase.SHADOWING, Phase.SHIFTING, Phase.PAUSED)

# (phase, what is decided) -> the phase that it leads to.
TRANSITIONS: dict[tuple[Phase | None, str], Phase] = {
    **{(phase, "plan"): Phase.PLANNED for phase in (None, *_FINISHED)},
    **{(phase, "shadow"): Phase.SHADOWING for phase in _TRIED},
    **{(phase, "shift"): Phase.SHIFTING for phase in _TRIED},
    **{(phase, "pause"): Phase.PAUSED for phase in _TRIED if phase is not Phase.PAUSED},
    **{(phase, "prepare"): Phase.PREPARING for phase in _TRIED},
    (Phase.PLANNED, "adopt"): Phase.ADOPTING,
    (Phase.PREPARING, "adopt"): Phase.ADOPTING,
    (Phase.ADOPTING, "succeed"): Phase.SUCCEEDED,
    **{(phase, "abort"): Phase.ABORTED for phase in (*_TRIED, Phase.PREPARING, Phase.ADOPTING)},
    (Phase.SUCCEEDED, "undo"): Phase.UNDONE,
}


@dataclass(frozen=True, slots=True)
class Served:
    """A model version as traffic knows it: its number in the registry and its bundle's digest."""

    version: str
    digest: str


@dataclass(frozen=True, slots=True)
class Release:
    """The state of one model's release stream.

    Parameters
    ----------
    phase
        Where it stands.
    generation
        The last decision; the epoch that every answer carries.
    candidate
        What is being released, or was last.
    champion
        What served when the release was planned; None for a bootstrap.
    deadline_at
        When waiting ends, aware UTC wall time.
    reason
        Why it stands there.
    rollout
        Names this rollout: the model and the generation of its plan, such as `flights-7`.
    spec
        The steps and limits as they were when it was planned; a changed file changes the next one.
    step
        Index of the step under way in `spec.steps`; -1 before the first.
    step_since
        Generation that began this step: evidence from it on counts towards its minimum.
    evidence
        What the last decision knew of the replicas' counts.
    """

    phase: Phase
    generation: int
    candidate: Served
    champion: Served | None
    deadline_at: datetime
    reason: str
    rollout: str = ""
    spec: ReleaseSpec = field(default_factory=ReleaseSpec)
    step: int = -1
    step_since: int = 0
    evidence: Evidence = field(default_factory=Evidence)

    @property
    def finished(self) -> bool:
        """Whether nothing more will be decided unless somebody asks for it."""
        return self.phase in _FINISHED

    @property
    def strategy(self) -> str:
        """`bootstrap` where there was no champion, `canary` where the candidate is tried, else `blue_green`."""
        if self.champion is None:
            return "bootstrap"
        return "canary" if self.spec.challenges else "blue_green"

    @property
    def in_force(self) -> Served | None:
        """The champion that this state orders."""
        return self.candidate if self.phase in (Phase.ADOPTING, Phase.SUCCEEDED) else self.champion

    @property
    def loads_candidate(self) -> bool:
        """Whether every gateway replica is to hold the candidate, and the champion still answers."""
        return self.phase is Phase.PREPARING or (self.phase is Phase.PLANNED and self.strategy != "canary")

    @property
    def under_way(self) -> StepSpec | None:
        """The step under way; None before the first."""
        return self.spec.steps[self.step] if 0 <= self.step < len(self.spec.steps) else None


@dataclass(frozen=True, slots=True)
class Challenger:
    """Who is tried, and with how much: at most one of the two shares is above zero."""

    served: Served
    percent: float
    shadow_percent: float
    salt: str


@dataclass(frozen=True, slots=True)
class Target:
    """Traffic as a decision orders it, absolute: applying it twice changes nothing.

    Parameters
    ----------
    generation
        The decision that ordered it; replicas ignore a lower one.
    champion
        Who answers; None while the first candidate is prepared.
    loaded
        Everything that each replica holds ready, reachable by its pinned version.
    rollout
        The rollout under way; None when it is finished.
    challenger
        Who is tried beside the champion, in its own application; None when nobody is.
    spec
        Replicas, unit and timeouts.
    """

    generation: int
    champion: Served | None
    loaded: tuple[Served, ...]
    rollout: str | None = None
    challenger: Challenger | None = None
    spec: ReleaseSpec = field(default_factory=ReleaseSpec)


def target(state: Release) -> Target:
    """Return the traffic that a state orders.

    The former champion stays loaded beside the new one, so that it can take over again at once.
    """
    candidate = (state.candidate,) if state.loads_candidate else ()
    loaded = tuple(dict.fromkeys(s for s in (state.in_force, state.champion, *candidate) if s))
    rollout = None if state.finished else state.rollout
    return Target(state.generation, state.in_force, loaded, rollout, _challenger(state), state.spec)


def _challenger(state: Release) -> Challenger | None:
    tried = (*_TRIED, Phase.PREPARING)
    if state.strategy != "canary" or state.phase not in tried:
        return None
    # A pause and the preparation keep what the last step ordered.
    ordered = [s.kind for s in state.spec.steps[: state.step + 1] if s.shadow or s.weight]
    last = ordered[-1] if ordered else None
    return Challenger(
        served=state.candidate,
        percent=last.percent if isinstance(last, WeightStep) else 0,
        shadow_percent=last.percent if isinstance(last, ShadowStep) else 0,
        # Another split for each rollout, the same after a restart.
        salt=hashlib.sha256(f"{state.rollout} {state.candidate.digest}".encode()).hexdigest()[:16],
    )


def to_evidence(state: Release) -> dict[str, object]:
    """Return what a decision must carry so that `fold` finds the state again."""
    kept: dict[str, object] = {
        "phase": str(state.phase),
        "candidate": asdict(state.candidate),
        "champion": asdict(state.champion) if state.champion else None,
        "deadline_at": state.deadline_at.isoformat(),
        "rollout": state.rollout,
        "spec": state.spec.model_dump(mode="json"),
        "step": state.step,
        "step_since": state.step_since,
    }
    return {"state": kept, "evidence": state.evidence.to_json()}


def fold(decisions: Sequence[Decision]) -> Release | None:
    """Return where a stream of release decisions has led; None before the first."""
    if not decisions:
        return None
    last = decisions[-1]
    carried: dict[str, Any] = json.loads(last.evidence)
    kept = carried["state"]
    champion = kept["champion"]
    return Release(
        phase=Phase(kept["phase"]),
        generation=last.generation,
        candidate=Served(**kept["candidate"]),
        champion=Served(**champion) if champion else None,
        deadline_at=datetime.fromisoformat(kept["deadline_at"]),
        reason=last.why,
        rollout=kept["rollout"],
        spec=ReleaseSpec.model_validate(kept["spec"]),
        step=kept["step"],
        step_since=kept["step_since"],
        evidence=Evidence.from_json(carried["evidence"]),
    )
