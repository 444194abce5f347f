"""Where a release stands: a fold of its decisions, and what traffic each phase orders.

Knows phases, versions and traffic as values. Does not know who serves or where decisions are kept.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum

from raypipe.decision import Decision


class Phase(StrEnum):
    """Where a release stands. Transitions are `TRANSITIONS`, and no others exist."""

    PLANNED = "planned"
    ADOPTING = "adopting"
    SUCCEEDED = "succeeded"
    ABORTED = "aborted"


# (phase, what is decided) -> the phase that it leads to.
TRANSITIONS: dict[tuple[Phase | None, str], Phase] = {
    (None, "plan"): Phase.PLANNED,
    (Phase.SUCCEEDED, "plan"): Phase.PLANNED,
    (Phase.ABORTED, "plan"): Phase.PLANNED,
    (Phase.PLANNED, "adopt"): Phase.ADOPTING,
    (Phase.PLANNED, "abort"): Phase.ABORTED,
    (Phase.ADOPTING, "succeed"): Phase.SUCCEEDED,
    (Phase.ADOPTING, "abort"): Phase.ABORTED,
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
    """

    phase: Phase
    generation: int
    candidate: Served
    champion: Served | None
    deadline_at: datetime
    reason: str

    @property
    def finished(self) -> bool:
        """Whether nothing more will be decided."""
        return self.phase in (Phase.SUCCEEDED, Phase.ABORTED)

    @property
    def strategy(self) -> str:
        """`bootstrap` where there was no champion, else `blue_green`."""
        return "bootstrap" if self.champion is None else "blue_green"

    @property
    def in_force(self) -> Served | None:
        """The champion that this state orders."""
        return self.candidate if self.phase in (Phase.ADOPTING, Phase.SUCCEEDED) else self.champion


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
    """

    generation: int
    champion: Served | None
    loaded: tuple[Served, ...]


def target(state: Release) -> Target:
    """Return the traffic that a state orders.

    The former champion stays loaded beside the new one, so that it can take over again at once.
    """
    others = (state.candidate,) if state.phase is not Phase.ABORTED else ()
    loaded = tuple(dict.fromkeys(s for s in (state.in_force, state.champion, *others) if s))
    return Target(state.generation, state.in_force, loaded)


def to_evidence(state: Release) -> dict[str, object]:
    """Return what a decision must carry so that `fold` finds the state again."""
    return {"state": asdict(replace(state, reason="")) | {"deadline_at": state.deadline_at.isoformat()}}


def fold(decisions: Sequence[Decision]) -> Release | None:
    """Return where a stream of release decisions has led; None before the first."""
    if not decisions:
        return None
    last = decisions[-1]
    kept = json.loads(last.evidence)["state"]
    champion = kept["champion"]
    return Release(
        phase=Phase(kept["phase"]),
        generation=last.generation,
        candidate=Served(**kept["candidate"]),
        champion=Served(**champion) if champion else None,
        deadline_at=datetime.fromisoformat(kept["deadline_at"]),
        reason=last.why,
    )
