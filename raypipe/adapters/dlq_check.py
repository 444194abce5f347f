"""Dead letters under the present contract, and against the events that the lake has. Commits nothing.

The rows go through the same functions as when they arrived. Does not know who asks, nor what becomes of the letters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from raypipe.adapters.ingest_keys import known, within
from raypipe.adapters.ingest_split import Arrival, split
from raypipe.adapters.lake.files import WrittenFile
from raypipe.adapters.lake.letters import Fate
from raypipe.adapters.lake.tables import LakeTable
from raypipe.contracts.contract import Contract
from raypipe.contracts.letters import rows_of
from raypipe.contracts.source import SourceSpec

Reasons = Mapping[str, tuple[str, ...]]
"""Why letters stay open, by their ids."""

_PLACE = ("source_position", "generation")


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """Letters under a contract.

    Parameters
    ----------
    ids
        Of those that keep it, in order.
    events
        Their events, with the columns of the table.
    refused
        Why the others do not.
    """

    ids: tuple[str, ...]
    events: pa.Table
    refused: Reasons


@dataclass(frozen=True, slots=True)
class Compared:
    """Checked letters against the events of the lake.

    Parameters
    ----------
    fates
        What becomes of each.
    new
        Places in `Checked.events` of those that the lake does not have.
    """

    fates: Mapping[str, Fate]
    new: tuple[int, ...]


def without_rows(letters: pl.DataFrame) -> pl.Series:
    """Return which letters are no row that could be read, so that no contract can let them in."""
    rowless = pl.element().str.contains(r"^(?:malformed\(|unreadable:)")
    return letters.select(pl.col("reasons").list.eval(rowless).list.any().alias("rowless"))["rowless"]


def reasons_of(letters: pl.DataFrame) -> dict[str, tuple[str, ...]]:
    """Return the reasons that the letters were refused for."""
    return {i: tuple(reasons) for i, reasons in letters.select("letter_id", "reasons").iter_rows()}


def check_again(letters: pl.DataFrame, source: str, contract: Contract) -> Checked:
    """Return the letters under the contract; their events keep the letters' places, generations and `known_at`.

    Parameters
    ----------
    letters
        With payloads, all of them rows, in the order in which equal events are looked at.
    """
    named = pa.array(letters["letter_id"].to_list(), pa.string())
    arrival = Arrival(source, contract, generation=0, known_at=datetime.max.replace(tzinfo=UTC))
    # In the place of its position each row carries the name of its letter, which leads back to all that was its own.
    part = split(rows_of(letters["raw"].to_list(), letters["types"].to_list()), arrival, named.take)
    ids = tuple(str(i) for i in part.accepted.column("source_position").to_pylist())
    own = pl.DataFrame({"letter_id": ids}, schema={"letter_id": pl.String})
    own = own.join(letters, on="letter_id", how="left", maintain_order="left")
    events = part.accepted
    for name in (*_PLACE, *(() if contract.known_at else ("known_at",))):
        at = events.schema.get_field_index(name)
        events = events.set_column(at, events.schema.field(at), pa.array(own[name].to_list(), events.schema.types[at]))
    refused = {r["source_position"]: tuple(r["reasons"]) for r in part.refused.to_pylist()}
    return Checked(ids, events, refused)


def compare(checked: Checked, table: LakeTable, contract: Contract, spec: SourceSpec) -> Compared:
    """Return which of the events are new to the table, by the rules of ingest.

    An event that came from the letter's own place is this letter's, from a replay that was killed; one that came from
    elsewhere makes the letter a duplicate, as does an equal letter before it.
    """
    if not checked.ids:
        return Compared({}, ())
    days = {str(day) for day in pc.unique(checked.events.column("event_date")).to_pylist()}
    files = within(spec.dedup.window, days, table.files())
    if contract.event_at in contract.key:
        # Equal keys then have equal dates.
        files = [f for f in files if (dict(f.partition)["event_date"] or "") in days | {""}]
    ours = pl.DataFrame(checked.events.select(["event_id", *_PLACE]))
    theirs = known(table.store, files, ours["event_id"].unique())
    own = ours.join(theirs.with_columns(own=True).unique(), on=["event_id", *_PLACE], how="left", maintain_order="left")
    first = ours["event_id"].is_first_distinct() & ~ours["event_id"].is_in(theirs["event_id"].implode())
    there = own["own"].fill_null(False)
    fates = {
        i: Fate.ACCEPTED if is_first or is_there else Fate.DUPLICATE
        for i, is_first, is_there in zip(checked.ids, first, there, strict=True)
    }
    return Compared(fates, tuple(first.arg_true().to_list()))


def by_day(table: LakeTable, events: pa.Table) -> Iterator[WrittenFile]:
    """Yield files that hold the events, one for each day."""
    days = events.column("event_date")
    for day in pc.unique(days).sort():
        yield table.write(events.filter(pc.equal(days, day)), (("event_date", str(day)),))
