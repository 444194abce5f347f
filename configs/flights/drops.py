"""The objects that land day by day, as bytes, and the ledger of what an ingest of them must find.

Knows the formats of the four sources and counts exactly what it damages. Does not know where objects are put.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

import polars as pl
from faults import AIRLINE_WITH_WRONG_DATES, LATE_BY, FaultKind, broken_lines, cut_rows, fault_on, replayed
from nyc import FIRST, check_range, frames

SUFFIXES = {"schedules": "csv", "departures": "parquet", "arrivals": "jsonl", "weather": "csv"}
"""The format of each source's objects."""

STRONGEST_WIND_MPH = 253.0
"""The contract's limit, which one real observation breaks: 1,048 mph at Newark on February 12."""

_ISO, _AMERICAN = "%Y-%m-%dT%H:%M:%SZ", "%m-%d-%Y %H:%M"


@dataclass(frozen=True, slots=True)
class Fault:
    """One injected fault: its kind, the object it is in, and how many rows it concerns.

    A fault of kind `late` whose object is not in the same ledger's range lands with a later range.
    """

    kind: FaultKind
    object: str
    rows: int


@dataclass(frozen=True, slots=True)
class Drop:
    """One object to land, and what an ingest that has seen all earlier drops must make of its rows.

    Parameters
    ----------
    source
        Whose rows it holds.
    name
        Path below the landing prefix, such as `arrivals/2013-01-01.jsonl`.
    data
        The bytes.
    rows
        Rows in it, sound or not; `duplicates` of them repeat an accepted row, and `refused` states how many of them
        become dead letters, by reason.
    """

    source: str
    name: str
    data: bytes = field(repr=False)
    rows: int
    duplicates: int = 0
    refused: tuple[tuple[str, int], ...] = ()
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceLedger:
    """What an ingest of one source must find: `rows` = `accepted` + `duplicates` + all `dead_letters`."""

    objects: int
    rows: int
    accepted: int
    duplicates: int
    dead_letters: dict[str, int]


@dataclass(frozen=True, slots=True)
class Ledger:
    """What an ingest of the days `start` to `end` must find, when all earlier days are ingested already."""

    start: date
    end: date
    seed: int | None
    sources: dict[str, SourceLedger]
    faults: tuple[Fault, ...]

    def to_json(self) -> str:
        """Return the ledger as indented JSON, the same text for the same ledger."""
        sources = {
            name: {
                "objects": s.objects,
                "rows": s.rows,
                "accepted": s.accepted,
                "duplicates": s.duplicates,
                "dead_letters": s.dead_letters,
            }
            for name, s in self.sources.items()
        }
        faults = [{"kind": f.kind, "object": f.object, "rows": f.rows} for f in self.faults]
        meaning = {"from": self.start, "to": self.end, "seed": self.seed, "sources": sources, "faults": faults}
        return json.dumps(meaning, indent=1, default=str)


def ledger(drops: Sequence[Drop], start: date, end: date, seed: int | None) -> Ledger:
    """Return the sum of what the drops state of themselves."""
    sources = {}
    for source in SUFFIXES:
        own = [d for d in drops if d.source == source]
        refused: Counter[str] = Counter()
        for d in own:
            refused.update(dict(d.refused))
        rows, duplicates = sum(d.rows for d in own), sum(d.duplicates for d in own)
        accepted = rows - duplicates - refused.total()
        sources[source] = SourceLedger(len(own), rows, accepted, duplicates, dict(sorted(refused.items())))
    return Ledger(start, end, seed, sources, tuple(f for d in drops for f in d.faults))


def drops(start: date, end: date, seed: int | None = None) -> Iterator[Drop]:
    """Yield the objects that land on the UTC days from `start` to `end`, in order of source and day.

    Parameters
    ----------
    start, end
        First and last day. An object held back lands on the day it comes, `faults.LATE_BY` after its own.
    seed
        Seed of the injected faults; None injects none.

    Raises
    ------
    ConfigError
        When the range is empty or leaves the data, or the data is not installed.
    """
    check_range(start, end)
    before = frames(max(FIRST, start - LATE_BY) if seed is not None else start, end)
    for source, frame in before.items():
        days = {key[0]: rows.drop("landed_on") for key, rows in frame.partition_by("landed_on", as_dict=True).items()}
        none = frame.drop("landed_on").clear()
        for n in range((end - start).days + 1):
            day = start + timedelta(days=n)
            rows = days.get(day, none)
            if seed is None:
                yield from _sound(source, day, rows)
                continue
            yield from _faulty(source, day, rows, days.get(day - timedelta(days=1), none), seed)
            held = day - LATE_BY
            if fault_on(source, held, seed) is FaultKind.LATE and held in days:
                name = _name(source, held, "-late")
                fault = Fault(FaultKind.LATE, name, days[held].height)
                yield Drop(source, name, encode(source, days[held]), days[held].height, faults=(fault,))


def encode(source: str, rows: pl.DataFrame, dates: str = _ISO) -> bytes:
    """Return rows in the format of their source; `dates` formats `scheduled_departure_at` where that is text."""
    match SUFFIXES[source]:
        case "parquet":
            buffer = io.BytesIO()
            rows.write_parquet(buffer)
            return buffer.getvalue()
        case "csv":
            return _as_text(rows, dates).write_csv().encode()
        case _:
            return _as_text(rows, dates).write_ndjson().encode()


def _as_text(rows: pl.DataFrame, dates: str) -> pl.DataFrame:
    times = [name for name, kind in rows.schema.items() if kind == pl.Datetime]
    return rows.with_columns(pl.col(c).dt.strftime(dates if c == "scheduled_departure_at" else _ISO) for c in times)


def _name(source: str, day: date, kind: str = "") -> str:
    return f"{source}/{day}{kind}.{SUFFIXES[source]}"


def _real_defects(source: str, rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("wind_speed") > STRONGEST_WIND_MPH) if source == "weather" else rows.clear()


def _sound(source: str, day: date, rows: pl.DataFrame) -> Iterator[Drop]:
    if rows.is_empty():
        return
    bad = _real_defects(source, rows).height
    refused = (("range(wind_speed)", bad),) if bad else ()
    yield Drop(source, _name(source, day), encode(source, rows), rows.height, refused=refused)


def _faulty(source: str, day: date, rows: pl.DataFrame, before: pl.DataFrame, seed: int) -> Iterator[Drop]:
    name = _name(source, day)
    match fault_on(source, day, seed):
        case FaultKind.REPLAYED:
            sound = before.filter(pl.col("wind_speed") <= STRONGEST_WIND_MPH) if source == "weather" else before
            again = replayed(source, sound, day, seed)
            for drop in _sound(source, day, pl.concat([rows, again])):
                fault = Fault(FaultKind.REPLAYED, name, again.height)
                yield Drop(source, name, drop.data, drop.rows, again.height, drop.refused, (fault,))
        case FaultKind.BROKEN_LINES as kind:
            data, count = broken_lines(encode(source, rows), day, seed)
            yield Drop(source, name, data, rows.height, 0, (("malformed(json)", count),), (Fault(kind, name, count),))
        case FaultKind.CUT_ROWS as kind:
            data, count = cut_rows(encode(source, rows), day, seed)
            yield Drop(
                source, name, data, rows.height, 0, (("malformed(columns)", count),), (Fault(kind, name, count),)
            )
        case FaultKind.WRONG_DATES as kind:
            theirs = pl.col("carrier") == AIRLINE_WITH_WRONG_DATES
            yield from _sound(source, day, rows.filter(~theirs))
            wrong, apart = rows.filter(theirs), _name(source, day, f"-{AIRLINE_WITH_WRONG_DATES}")
            refused = (("type(scheduled_departure_at)", wrong.height),)
            data = encode(source, wrong, _AMERICAN)
            yield Drop(source, apart, data, wrong.height, 0, refused, (Fault(kind, apart, wrong.height),))
        case FaultKind.LATE:
            return  # `drops` yields it on the day it comes
        case None:
            yield from _sound(source, day, rows)
