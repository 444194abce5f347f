"""Decides about dead letters: each commit of fates has its decision in the stream `dlq/<source>`, and no other.

The rows of a commit say all that its decision says, so whoever comes after a crash says what the one before could not.
Of a letter that somebody else decided about meanwhile nothing is decided twice. Does not know events or payloads.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from raypipe.adapters.lake.catalog import LETTER_FATES, letter_fates_table
from raypipe.adapters.lake.decisions import Decisions
from raypipe.adapters.lake.letters import Fate
from raypipe.adapters.lake.store import Store
from raypipe.decision import Decision
from raypipe.errors import GenerationMoved
from raypipe.telemetry import event

REPLAY, DROP, UNMASK = "replay", "drop", "unmask"
"""What the stream `dlq/<source>` decides."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """Who decides what about letters, and why."""

    who: str
    what: str
    why: str


def stream_of(source: str) -> str:
    """Return the stream of decisions about a source's letters; also the application id of its replays."""
    return f"dlq/{source}"


class Fates:
    """What became of the letters of all sources."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._table = letter_fates_table(store)
        self._decisions = Decisions(store)
        self._clock = clock

    def settled(self, source: str) -> int:
        """Return the last replay (its number among the commits of the events) whose letters all have their fate."""
        return self._table.generation(_settled(source))

    def decide(
        self, source: str, fates: Mapping[str, Fate], ruling: Ruling, *, replay: int, settled: int
    ) -> dict[str, Fate]:
        """Commit the fates that are new, record their decision, and return them.

        A letter is dropped only while it is open. One that is an event is replayed, though somebody dropped it at the
        same moment; what is replayed stays so.

        Parameters
        ----------
        replay
            The last commit of the events that came from letters, for the record.
        settled
            What `settled` is afterwards, if it is less.
        """
        while True:
            number = self._record_last(source)
            new = self._new(source, fates)
            behind = self._table.generation(_settled(source))
            if not new and settled <= behind:
                return {}
            at = self._clock()
            try:
                self._table.commit(
                    [self._table.write(_rows(source, new, number + 1, replay, at, ruling))] if new else [],
                    app_id=stream_of(source),
                    generation=number + 1,
                    positions={_settled(source): max(settled, behind)},
                )
            except GenerationMoved:
                continue
            self._record_last(source)
            return new

    def record(self, source: str, ruling: Ruling, evidence: Mapping[str, object]) -> None:
        """Record a decision that gives no letter a fate, after all that came before it."""
        self._record_last(source)
        while not self._recorded(source, self._past(source), ruling, self._clock(), evidence):
            pass

    def _new(self, source: str, fates: Mapping[str, Fate]) -> dict[str, Fate]:
        rows = pl.DataFrame(self._table.read(["letter_id", "number", "fate"], pc.field("source") == source))
        known = dict(rows.sort("number").select("letter_id", "fate").iter_rows())
        return {i: f for i, f in fates.items() if i not in known or (known[i] == Fate.DROPPED != f)}

    def _record_last(self, source: str) -> int:
        """Return the number of the last commit, after its decision is on record; those of all before it are."""
        number = self._table.generation(stream_of(source))
        of_it = (pc.field("source") == source) & (pc.field("number") == number)
        rows = self._table.read(["fate", "replay", "at", "who", "why"], of_it).to_pylist()
        while rows:
            past = self._past(source)
            if any(json.loads(d.evidence).get("fates") == number for d in past):
                break
            first, counts = rows[0], Counter(str(r["fate"]) for r in rows)
            ruling = Ruling(first["who"], DROP if first["fate"] == Fate.DROPPED else REPLAY, first["why"])
            evidence = {"fates": number, "replay": first["replay"], **counts}
            self._recorded(source, past, ruling, first["at"], evidence)
        return number

    def _past(self, source: str) -> tuple[Decision, ...]:
        return self._decisions.stream(stream_of(source))

    def _recorded(
        self, source: str, past: Sequence[Decision], ruling: Ruling, at: datetime, evidence: Mapping[str, object]
    ) -> bool:
        """Record the decision that follows `past`; False when somebody else decided first."""
        try:
            self._decisions.record(
                past[-1] if past else None,
                stream=stream_of(source),
                at=at,
                who=ruling.who,
                what=ruling.what,
                why=ruling.why,
                evidence=evidence,
            )
        except GenerationMoved:
            return False
        event("dlq", f"{source}: {ruling.what} by {ruling.who}, {ruling.why}")
        return True


def _settled(source: str) -> str:
    return f"settled/{source}"


def _rows(source: str, fates: Mapping[str, Fate], number: int, replay: int, at: datetime, ruling: Ruling) -> pa.Table:
    columns: dict[str, list[Any]] = {
        "letter_id": list(fates),
        "source": [source] * len(fates),
        "number": [number] * len(fates),
        "fate": [str(f) for f in fates.values()],
        "replay": [replay] * len(fates),
        "at": [at] * len(fates),
        "who": [ruling.who] * len(fates),
        "why": [ruling.why] * len(fates),
    }
    return pa.table(columns, schema=LETTER_FATES)
