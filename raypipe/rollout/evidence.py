"""What the replicas counted in a rollout, by generation and replica: asking twice counts once.

Each value is cumulative, so of two for the same replica process the later one holds everything; values of different
processes are added. Knows counts; does not know who asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import reduce
from typing import Any

from raypipe.rollout.analysis import ErrorEvidence
from raypipe.rollout.measures import Measures
from raypipe.rollout.measures_json import measures_from_json, measures_to_json


@dataclass(frozen=True, slots=True)
class StepEvidence:
    """What one replica counted under one generation.

    Parameters
    ----------
    errors
        Requests and failures by arm.
    shadow_dropped
        Copies that found the queue full.
    fallbacks
        How often the champion answered for the challenger, by reason.
    circuit_open_s
        For how long the challenger's circuit has been open by now; 0 when it is closed.
    asked, copied
        Requests that were assigned to the challenger, and copies that it was sent: also those of units that were
        counted before, which say nothing new about errors and much about load.
    measures
        What it tells about the guardrails beyond errors.
    """

    errors: ErrorEvidence = field(default_factory=ErrorEvidence)
    shadow_dropped: int = 0
    fallbacks: Mapping[str, int] = field(default_factory=dict)
    circuit_open_s: float = 0.0
    asked: int = 0
    copied: int = 0
    measures: Measures = field(default_factory=Measures)

    @property
    def observations(self) -> int:
        """Everything counted; never falls while the process lives."""
        units = self.errors.challenger_requests + self.errors.champion_requests + self.errors.pairs
        return units + self.asked + self.copied + self.measures.observations


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a rollout, by (generation, replica process)."""

    parts: Mapping[tuple[int, str], StepEvidence] = field(default_factory=dict)

    def merge(self, later: Evidence) -> Evidence:
        """Return both; where both know a replica's generation, the one that has counted more, `later` among equals."""
        merged = dict(self.parts)
        for key, part in later.parts.items():
            if key not in merged or part.observations >= merged[key].observations:
                merged[key] = part
        return Evidence(merged)

    def errors(self, since: int = 0) -> tuple[ErrorEvidence, ...]:
        """Return the errors of all replicas in generation `since` and later, by share, the least first."""
        by_share: dict[float, ErrorEvidence] = {}
        for (generation, _), part in self.parts.items():
            if generation >= since:
                share = part.errors.share
                by_share[share] = by_share.get(share, ErrorEvidence()).merge(part.errors)
        return tuple(by_share[share] for share in sorted(by_share))

    def measures(self) -> Measures:
        """Return what all replicas tell of the guardrails beyond errors."""
        return reduce(Measures.merge, (part.measures for part in self.parts.values()), Measures())

    def load(self, since: int) -> tuple[int, int]:
        """Return requests assigned to the challenger, and copies sent to it, in generation `since` and later."""
        parts = [part for (generation, _), part in self.parts.items() if generation >= since]
        return sum(p.asked for p in parts), sum(p.copied for p in parts)

    @property
    def processes(self) -> int:
        """How many replica processes have counted something; a replica that was restarted is another."""
        return len({replica for (_, replica), part in self.parts.items() if part.observations})

    @property
    def shadow_dropped(self) -> int:
        """Copies dropped in the whole rollout."""
        return sum(part.shadow_dropped for part in self.parts.values())

    def to_json(self) -> list[dict[str, object]]:
        """Return plain values that `from_json` reads back."""
        return [
            {"generation": generation, "replica": replica, **_part_to_json(part)}
            for (generation, replica), part in sorted(self.parts.items(), key=lambda item: item[0])
        ]

    @staticmethod
    def from_json(parts: list[dict[str, Any]]) -> Evidence:
        """Return the evidence that `to_json` wrote."""
        found = {}
        for part in parts:
            key = int(part["generation"]), str(part["replica"])
            kept = {k: v for k, v in part.items() if k not in ("generation", "replica", "errors", "measures")}
            errors, measures = ErrorEvidence(**part["errors"]), measures_from_json(part.get("measures", {}))
            found[key] = StepEvidence(errors=errors, measures=measures, **kept)
        return Evidence(found)


def _part_to_json(part: StepEvidence) -> dict[str, object]:
    return {**asdict(part), "measures": measures_to_json(part.measures)}
