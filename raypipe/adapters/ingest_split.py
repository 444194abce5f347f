"""Rows as they arrived become events and dead letters, ready for their tables.

The same for objects and for messages: only what a row's position is called differs. Does not know where rows come
from, nor which files they go to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from raypipe.adapters.lake.catalog import DEAD_LETTERS, event_schema
from raypipe.contracts.backfill import Days
from raypipe.contracts.checks import check
from raypipe.contracts.contract import Contract
from raypipe.contracts.events import event_columns
from raypipe.contracts.gate import GateEvidence, observe, observe_unreadable
from raypipe.contracts.letters import types_of
from raypipe.contracts.rows import ROW, RawRows, as_json


@dataclass(frozen=True, slots=True)
class Arrival:
    """What the rows of one object, or of one batch of messages, have in common.

    Parameters
    ----------
    source
        Name of the source.
    contract
        What it promises.
    generation, known_at
        Under which the rows enter the lake.
    version
        What tells this object from others of its name, such as its ETag; empty where positions never come twice.
    days
        Event dates that may enter; a row of another is refused. None lets all in.
    """

    source: str
    contract: Contract
    generation: int
    known_at: datetime
    version: str = ""
    days: Days | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Events and dead letters with the columns of their tables, and their counts; duplicates are not looked for."""

    accepted: pa.Table
    refused: pa.Table
    evidence: GateEvidence


def split(raw: RawRows, arrival: Arrival, positions: Callable[[pa.Array[Any]], pa.Array[Any]]) -> Split:
    """Return the rows that keep the contract as events, and the others as dead letters with their reasons.

    Parameters
    ----------
    positions
        The source position (string) of each row number (int64) of `raw`.
    """
    schema = event_schema(arrival.contract)
    checked = check(raw, arrival.contract)
    rows = event_columns(checked.accepted, arrival.contract, arrival.known_at)
    added: dict[str, Any] = {
        "source_position": positions(checked.accepted_rows),
        "contract_version": pa.repeat(arrival.contract.version, rows.num_rows),
        "generation": pa.repeat(pa.scalar(arrival.generation, pa.int64()), rows.num_rows),
    }
    for name, column in added.items():
        rows = rows.append_column(name, column)
    outside = _outside(raw, rows["event_date"], checked.accepted_rows, arrival)
    broken = [{**r, "types": None, "reasons": [r["reason"]]} for r in raw.malformed.to_pylist()]
    broken += checked.refused.to_pylist()
    if outside:
        rows = rows.filter(pc.invert(pc.is_in(checked.accepted_rows, pa.array([r["row"] for r in outside]))))
        broken += outside
    places = [str(p) for p in positions(pa.array([r["row"] for r in broken], pa.int64())).to_pylist()]
    refused = _letters(arrival, places, broken)
    counts = observe(raw, checked)
    if outside:
        refusals = GateEvidence(dead_letters=len(outside), by_reason=((outside[0]["reasons"][0], len(outside)),))
        counts = replace(counts, accepted=counts.accepted - len(outside)).merge(refusals)
    return Split(rows.select(schema.names).cast(schema), refused, counts)


def _outside(
    raw: RawRows, dates: pa.ChunkedArray[Any], numbers: pa.Array[Any], arrival: Arrival
) -> list[dict[str, Any]]:
    """Return number, text, types and reason of each accepted row whose event date may not enter."""
    if arrival.days is None:
        return []
    held = pl.Series(dates).is_between(arrival.days.start, arrival.days.until, closed="left")
    strangers = pl.Series(numbers).filter(~held)
    reasons = [f"backfill({arrival.contract.event_at})"]
    found = [replace(p, frame=p.frame.filter(pl.col(ROW).is_in(strangers.implode()))) for p in raw.parts]
    return [
        {"row": row, "raw": text, "types": types_of(part), "reasons": reasons}
        for part in found
        for row, text in zip(part.frame[ROW].to_list(), as_json(part.frame).to_list(), strict=True)
    ]


def unreadable(arrival: Arrival, position: str, reason: str) -> Split:
    """Return an object that could not be opened as one dead letter."""
    letters = _letters(arrival, [position], [{"raw": "", "types": None, "reasons": [f"unreadable: {reason}"]}])
    return Split(event_schema(arrival.contract).empty_table(), letters, observe_unreadable())


def numbered(uri: str) -> Callable[[pa.Array[Any]], pa.Array[Any]]:
    """Return the positions of an object's rows: the object, `#`, and the row's number in it."""

    def positions(rows: pa.Array[Any]) -> pa.Array[Any]:
        numbers: Any = rows.cast(pa.string())
        joined: pa.Array[Any] = pc.binary_join_element_wise(pa.scalar(uri), numbers, "#")
        return joined

    return positions


def _letters(arrival: Arrival, positions: Sequence[str], broken: Sequence[Mapping[str, Any]]) -> pa.Table:
    # The same record of the same object version is the same letter, however often it is staged.
    seeds = [f"{arrival.source} {arrival.version} {p}" for p in positions]
    count = len(positions)
    return pa.table(
        {
            "letter_id": [hashlib.sha256(s.encode()).hexdigest()[:32] for s in seeds],
            "source": [arrival.source] * count,
            "raw": [r["raw"] for r in broken],
            "types": [r["types"] for r in broken],
            "reasons": [r["reasons"] for r in broken],
            "source_position": list(positions),
            "contract_version": [arrival.contract.version] * count,
            "generation": [arrival.generation] * count,
            "known_at": [arrival.known_at] * count,
        },
        schema=DEAD_LETTERS,
    )
