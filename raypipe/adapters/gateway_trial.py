"""A challenger on trial in one gateway replica: its way, its lease, and what was counted for and against it.

Lives on one event loop. Knows assignment and evidence; does not know HTTP or how scores are made.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from raypipe.adapters.gateway_config import ChallengerConfig, ModelConfig
from raypipe.adapters.gateway_lane import Call, Lane
from raypipe.adapters.gateway_state import Model, RolloutEvidence
from raypipe.protocol.cells import arrow_schema
from raypipe.rollout.analysis import ErrorMeter
from raypipe.rollout.evidence import StepEvidence
from raypipe.rollout.routing import bucket, takes

# 8 bytes and a set's slot each: about 120 MB; a rollout that has seen more has long been decided.
_UNITS = 2_000_000


@dataclass(slots=True)
class Counts:
    """What was counted under one generation."""

    meter: ErrorMeter = field(default_factory=ErrorMeter)
    dropped: int = 0
    fallbacks: Counter[str] = field(default_factory=Counter)
    asked: int = 0
    copied: int = 0


@dataclass(frozen=True, slots=True)
class Assignment:
    """Where the split puts a request under one generation, and where its outcome is counted.

    What it is evidence of is settled here, before anybody answers: of a unit's requests the first that was assigned
    counts, whichever is answered first, and while the challenger is not reached neither arm counts.

    Parameters
    ----------
    unit
        What is kept on one arm.
    generation
        Whose order it was assigned under.
    challenger
        Whether it was given to the challenger.
    copied
        Whether it is copied to the challenger.
    leased
        Whether somebody judges the challenger; else it gets nothing, whatever the split says.
    """

    unit: str
    generation: int
    challenger: bool
    copied: bool
    leased: bool
    _trial: Trial
    _share: float
    _counts: bool
    _pair_counts: bool

    def count_request(self, *, failed: bool) -> None:
        """Count the outcome by assigned arm, where it is evidence."""
        if self._counts:
            meter = self._trial.counts[self.generation].meter
            meter.request(challenger=self.challenger, share=self._share, failed=failed)

    def count_diverted(self) -> None:
        """Count no outcome: the circuit opened while it was on its way; the unit's next request may be evidence."""
        if self._counts:
            self._trial.forget(self.unit)

    def count_pair(self, *, challenger_failed: bool, champion_failed: bool) -> None:
        """Count a shadow pair, and its outcome where it is evidence."""
        counts = self._trial.counts[self.generation]
        counts.copied += 1
        if self._pair_counts:
            counts.meter.pair(challenger_failed=challenger_failed, champion_failed=champion_failed)

    def count_fallback(self, reason: str) -> None:
        """Count an answer that the champion gave for the challenger."""
        self._trial.counts[self.generation].fallbacks[reason] += 1

    def count_dropped(self) -> None:
        """Count a copy that found no room; the unit's next one may be evidence."""
        self._trial.counts[self.generation].dropped += 1
        if self._pair_counts:
            self._trial.forget(f"pair {self.unit}")


class Trial:
    """A rollout as one replica sees it; its weights change in place.

    Parameters
    ----------
    rollout
        Its name.
    lane
        The way to the challenger.
    """

    def __init__(self, rollout: str, lane: Lane) -> None:
        self.rollout, self.lane = rollout, lane
        self.counts: dict[int, Counts] = {}
        self.order: ChallengerConfig
        self.config: ModelConfig
        self.schema: pa.Schema
        self._generation = 0
        self._leased_until = 0.0
        self._units: set[int] = set()

    def follow(self, model: Model, order: ChallengerConfig) -> None:
        """Take the share that a generation orders; each comes with a whole lease from when it was prepared."""
        generation = model.config.generation
        if generation == self._generation:
            return
        self._generation, self.order, self.config = generation, order, model.config
        self.schema = arrow_schema(order.columns)
        self.counts.setdefault(generation, Counts())
        self._leased_until = model.since + order.lease_s

    def lease(self) -> None:
        """Let the challenger answer for another while: somebody judges it."""
        self._leased_until = time.monotonic() + self.order.lease_s

    def assign(self, unit: str) -> Assignment:
        """Return where the split puts a request of this unit now."""
        order = self.order
        place = bucket(order.salt, unit)
        challenger, copied = takes(place, order.percent), takes(place, order.shadow_percent)
        leased = time.monotonic() < self._leased_until
        reached = leased and not self.lane.open_s
        if challenger and leased:
            self.counts[self._generation].asked += 1
        return Assignment(
            unit,
            self._generation,
            challenger,
            copied,
            leased,
            self,
            order.percent / 100,
            reached and 0 < order.percent < 100 and self._first(unit),
            reached and copied and self._first(f"pair {unit}"),
        )

    def forget(self, key: str) -> None:
        """Let the next request of a unit, or its next pair, be its first."""
        self._units.discard(hash(key))

    def _first(self, key: str) -> bool:
        """Return whether this is new in the rollout, which it then is no more."""
        hashed = hash(key)
        if hashed in self._units or len(self._units) >= _UNITS:
            return False
        self._units.add(hashed)
        return True

    def evidence(self) -> RolloutEvidence:
        """Return everything counted so far."""
        open_s = self.lane.open_s
        by_generation = {
            generation: StepEvidence(
                counts.meter.evidence(),
                counts.dropped,
                dict(counts.fallbacks),
                open_s if generation == self._generation else 0.0,
                counts.asked,
                counts.copied,
            )
            for generation, counts in self.counts.items()
        }
        return RolloutEvidence(self.rollout, by_generation, max(0.0, self._leased_until - time.monotonic()))


class Trials:
    """The trials of a replica's models.

    Parameters
    ----------
    reach
        Makes the call to a challenger's application, by its name.
    """

    def __init__(self, reach: Callable[[str], Call]) -> None:
        self._reach = reach
        self._by_model: dict[str, Trial] = {}

    def of(self, model: Model) -> Trial | None:
        """Return the trial that a model's order in force asks for; None where nobody is tried."""
        config = model.config
        order = config.challenger
        if order is None or config.rollout is None or model.champion is None:
            return None
        trial = self._by_model.get(config.name)
        if trial is None or trial.rollout != config.rollout:
            lane = Lane(self._reach(order.application), timeout_s=order.timeout_ms / 1000)
            trial = self._by_model[config.name] = Trial(config.rollout, lane)
        trial.follow(model, order)
        return trial

    def lease(self, rollout: str) -> None:
        """Prolong the lease of a rollout, if it is under way here."""
        for trial in self._by_model.values():
            if trial.rollout == rollout:
                trial.lease()

    def evidence(self) -> dict[str, RolloutEvidence]:
        """Return what was counted, by model; of a finished rollout until the next one begins."""
        return {name: trial.evidence() for name, trial in self._by_model.items()}


def unit_of(order: ChallengerConfig, headers: Mapping[bytes, bytes], identity: str, table: pa.Table) -> tuple[str, str]:
    """Return what is kept on one arm, and what it is: `header`, `field`, or the `request` itself."""
    if order.unit_header and (given := headers.get(order.unit_header.encode())):
        return given.decode("latin-1"), "header"
    if order.unit_field and order.unit_field in table.column_names and table.num_rows:
        value = table.column(order.unit_field)[0].as_py()
        if value is not None:
            return str(value), "field"
    return identity, "request"
