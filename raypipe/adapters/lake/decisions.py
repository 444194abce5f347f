"""The table `decisions`: every decision of every flow, one chained stream for each subject."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.adapters.lake.store import Store
from raypipe.adapters.lake.tables import LakeTable
from raypipe.decision import Decision, follow
from raypipe.errors import GenerationMoved

_COLUMNS: dict[str, pa.DataType] = {
    "stream": pa.string(),
    "generation": pa.int64(),
    "at": pa.timestamp("us", "UTC"),
    "who": pa.string(),
    "what": pa.string(),
    "why": pa.string(),
    "evidence": pa.string(),
    "previous_hash": pa.string(),
    "hash": pa.string(),
}
SCHEMA = pa.schema(_COLUMNS)


def retention_of(source: str) -> str:
    """Return the stream of decisions about a source's rows that are too old; also the application id of commits."""
    return f"retention/{source}"


class Decisions:
    """Streams of decisions in the lake."""

    def __init__(self, store: Store) -> None:
        self._table = LakeTable(store, "decisions", SCHEMA)

    def stream(self, name: str) -> tuple[Decision, ...]:
        """Return the decisions of a stream in order."""
        rows = self._table.read(where=pc.field("stream") == name).sort_by("generation").to_pylist()
        return tuple(Decision(**row) for row in rows)

    def streams(self) -> tuple[str, ...]:
        """Return the names of all streams, sorted."""
        return tuple(sorted({str(s) for s in self._table.read(["stream"]).column("stream").to_pylist()}))

    def newest(self, prefix: str) -> dict[str, Decision]:
        """Return the last decision of each stream whose name begins so, by the rest of its name."""
        rows = self._table.read(where=pc.starts_with(pc.field("stream"), prefix)).sort_by("generation").to_pylist()
        return {row["stream"].removeprefix(prefix): Decision(**row) for row in rows}

    def record(
        self,
        previous: Decision | None,
        *,
        stream: str,
        at: datetime,
        who: str,
        what: str,
        why: str,
        evidence: Mapping[str, object],
    ) -> Decision:
        """Commit the decision that follows `previous`, and return it.

        Raises
        ------
        GenerationMoved
            When somebody else decided first; the message names who and what.
        """
        decision = follow(previous, stream=stream, at=at, who=who, what=what, why=why, evidence=evidence)
        rows = pa.Table.from_pylist([asdict(decision)], schema=SCHEMA)
        try:
            self._table.append(rows, app_id=stream, generation=decision.generation)
        except GenerationMoved as error:
            newest = self.stream(stream)[-1]
            raise GenerationMoved(
                f"generation moved: expected {decision.generation - 1}, found {newest.generation} of {stream} "
                f"({newest.what} by {newest.who} at {newest.at:%Y-%m-%d %H:%M:%S}Z)",
                stream=stream,
                expected=decision.generation - 1,
                found=newest.generation,
            ) from error
        return decision
