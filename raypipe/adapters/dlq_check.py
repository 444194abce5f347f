"""Dead letters under the present contract, and against the events that the lake has. Commits nothing.

The rows go through the same functions as when they arrived. Does not know who asks, nor what becomes of the letters.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from raypipe.adapters.ingest_keys import known, within
from raypipe.adapters.ingest_split import Arrival, split
from raypipe.adapters.lake.files import DataFile, WrittenFile
from raypipe.adapters.lake.letters import Fate
from raypipe.adapters.lake.manifests import ManifestEntry
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
    letters
        Themselves, in that order.
    events
        Their events, with the columns of the table.
    refused
        Why the others do not.
    """

    ids: tuple[str, ...]
    letters: pl.DataFrame
    events: pa.Table
    refused: Reasons


@dataclass(frozen=True, slots=True)
class Landed:
    """What came from objects so far.

    Parameters
    ----------
    uris
        Of the objects; letters of others came from a stream.
    backfills
        One entry of each manifest that replaced days.
    """

    uris: frozenset[str]
    backfills: tuple[ManifestEntry, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """Checked letters against what the lake has.

    Parameters
    ----------
    fates
        What becomes of each.
    refused
        Why those have none whose day a backfill has replaced, or left alone.
    new, streamed
        Places in `Checked.events` of those that the lake does not have: from objects, and from a stream.
    superseded
        Streamed files of the table with the rows of them that give way to those of objects.
    """

    fates: Mapping[str, Fate]
    refused: Reasons = field(default_factory=dict)
    new: tuple[int, ...] = ()
    streamed: tuple[int, ...] = ()
    superseded: tuple[tuple[DataFile, tuple[int, ...]], ...] = ()


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
    return Checked(ids, own, events, refused)


def compare(checked: Checked, table: LakeTable, contract: Contract, spec: SourceSpec, landed: Landed) -> Compared:
    """Return which of the events are new to the table, by the rules of ingest.

    An event that came from the letter's own place is this letter's, from a replay that was killed; one that came from
    elsewhere makes the letter a duplicate, as does an equal letter before it. What came from objects wins over what was
    streamed.
    """
    if not checked.ids:
        return Compared({})
    files = _comparable(checked.events, table, contract, spec)
    theirs = known(table.store, files, pl.Series(checked.events.column("event_id")).unique())
    ours = _placed(checked, theirs, {n for n, f in enumerate(files) if f.streamed}, landed)
    entering = ours.filter("new", "object")["event_id"]
    stays = ours.filter(~pl.col("displaced")).select("position", pl.col("new") | pl.col("there"))
    return Compared(
        fates={checked.ids[n]: Fate.ACCEPTED if accepted else Fate.DUPLICATE for n, accepted in stays.iter_rows()},
        refused={checked.ids[n]: (f"backfill({contract.event_at})",) for n in ours.filter("displaced")["position"]},
        new=tuple(ours.filter("new", "object")["position"]),
        streamed=tuple(ours.filter("new", ~pl.col("object"))["position"]),
        superseded=tuple(_giving_way(theirs.filter(pl.col("event_id").is_in(entering.implode())), files)),
    )


def _placed(checked: Checked, theirs: pl.DataFrame, streamed: Collection[int], landed: Landed) -> pl.DataFrame:
    """Return of each event whether it is an `object`'s, `displaced` by a backfill, `there` already, and `new`."""
    ours = pl.DataFrame(checked.events.select(["event_id", *_PLACE, "event_date"]))
    ours = ours.with_columns(checked.letters["known_at"], pl.int_range(pl.len()).alias("position"))
    uris = pl.Series(list(landed.uris), dtype=pl.String).implode()
    from_object = pl.col("source_position").str.replace(r"#\d+$", "").is_in(uris)
    own = theirs.select("event_id", *_PLACE).unique().with_columns(there=True)
    ours = ours.join(own, on=["event_id", *_PLACE], how="left").with_columns(
        from_object.alias("object"), _displaced(landed).alias("displaced"), pl.col("there").fill_null(False)
    )
    firm = theirs.filter(~pl.col("file").is_in(list(streamed)))["event_id"].implode()
    taken = pl.col("event_id").is_in(firm)
    taken |= ~pl.col("object") & pl.col("event_id").is_in(theirs["event_id"].implode())
    # Of equal letters the first of an object comes first; what is displaced stands in nobody's way.
    ours = ours.sort("displaced", pl.col("object").not_(), "position")
    new = pl.col("event_id").is_first_distinct() & ~taken & ~pl.col("there") & ~pl.col("displaced")
    return ours.with_columns(new.alias("new")).sort("position")


def _comparable(events: pa.Table, table: LakeTable, contract: Contract, spec: SourceSpec) -> list[DataFile]:
    """Return the files of the table that may hold one of the events."""
    days = {str(day) for day in pc.unique(events.column("event_date")).to_pylist()}
    files = within(spec.dedup.window, days, table.files())
    if contract.event_at in contract.key:
        # Equal keys then have equal dates.
        files = [f for f in files if (dict(f.partition)["event_date"] or "") in days | {""}]
    return files


def _displaced(landed: Landed) -> pl.Expr:
    """Return whether a backfill replaced the day after the letter came, or brought the letter and not its day."""
    displaced = pl.lit(False)
    for entry in landed.backfills:
        held = pl.col("event_date").is_between(pl.lit(entry.replaces_from), pl.lit(entry.replaces_until), closed="left")
        came_with = (pl.col("known_at") == entry.known_at) & (pl.col("generation") == entry.generation)
        displaced = displaced | ((pl.col("known_at") < entry.known_at) & held) | (came_with & ~held)
    return displaced


def _giving_way(theirs: pl.DataFrame, files: Sequence[DataFile]) -> Iterator[tuple[DataFile, tuple[int, ...]]]:
    for (number,), rows in theirs.group_by("file", maintain_order=True):
        yield files[int(str(number))], tuple(rows["row"].sort())


def by_day(table: LakeTable, events: pa.Table, rows: Sequence[int], *, streamed: bool) -> Iterator[WrittenFile]:
    """Yield files that hold these rows of the events, one for each day."""
    chosen = events.take(pa.array(rows, pa.int64()))
    days = chosen.column("event_date")
    for day in pc.unique(days).sort():
        yield table.write(chosen.filter(pc.equal(days, day)), (("event_date", str(day)),), streamed=streamed)
