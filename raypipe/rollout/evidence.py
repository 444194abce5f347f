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
    """

    errors: ErrorEvidence = field(default_factory=ErrorEvidence)
    shadow_dropped: int = 0
    fallbacks: Mapping[str, int] = field(default_factory=dict)
    circuit_open_s: float = 0.0

    @property
    def observations(self) -> int:
        """Units and pairs counted; never falls while the process lives."""
        return self.errors.challenger_requests + self.errors.champion_requests + self.errors.pairs


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

    def errors(self, since: int = 0) -> ErrorEvidence:
        """Return the errors of all replicas in generation `since` and later."""
        counted = (part.errors for (generation, _), part in self.parts.items() if generation >= since)
        return reduce(ErrorEvidence.merge, counted, ErrorEvidence())

    @property
    def shadow_dropped(self) -> int:
        """Copies dropped in the whole rollout."""
        return sum(part.shadow_dropped for part in self.parts.values())

    def to_json(self) -> list[dict[str, object]]:
        """Return plain values that `from_json` reads back."""
        return [
            {"generation": generation, "replica": replica, **asdict(part)}
            for (generation, replica), part in sorted(self.parts.items())
        ]

    @staticmethod
    def from_json(parts: list[dict[str, Any]]) -> Evidence:
        """Return the evidence that `to_json` wrote."""
        found = {}
        for part in parts:
            key = int(part["generation"]), str(part["replica"])
            kept = {k: v for k, v in part.items() if k not in ("generation", "replica", "errors")}
            found[key] = StepEvidence(errors=ErrorEvidence(**part["errors"]), **kept)
        return Evidence(found)
