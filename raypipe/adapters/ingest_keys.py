"""What one worker does against duplicates: find events that occur again, write a file again without them.

Knows keys and files; does not know what was staged together, nor who commits. Reads no column but the event's id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from raypipe.adapters.lake.catalog import events_table
from raypipe.adapters.lake.files import DataFile, WrittenFile
from raypipe.adapters.lake.store import Store
from raypipe.contracts.contract import Contract

# Keys that are compared at once: few enough for several workers, at most so many that they fit into one.
_BUCKET_ROWS = (4_000_000, 32_000_000)
_BUCKETS = 8
_READ_ROWS = 2_000_000
_DAYS_ROWS = 2_000_000
_PLACED: dict[str, type[pl.DataType]] = {
    "event_id": pl.String,
    "source_position": pl.String,
    "generation": pl.Int64,
}
_KNOWN = _PLACED | {"file": pl.Int64, "row": pl.Int64}


_Hashes = npt.NDArray[np.uint64]


class Kept(Protocol):
    """Hashes that stay where they were made until a task takes them."""

    def take(self) -> list[_Hashes] | None:
        """Return them; None when they are gone with the process that made them."""


Keep = Callable[[list[_Hashes]], Kept]


@dataclass(frozen=True, slots=True, eq=False)
class Keys:
    """Hashes of the event ids of one file, in its order: those at `place` of what is kept."""

    held: Kept
    place: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Files to compare with each other, in the order of their precedence, in so many buckets of keys.

    Parameters
    ----------
    settled
        How many of the files come first and lose nothing: they are in the table, and were not streamed.
    """

    files: tuple[DataFile, ...]
    settled: int
    buckets: int


@dataclass(frozen=True, slots=True)
class ReadKeys:
    """Files whose keys are to be read once, for several tasks, and who keeps them."""

    store: Store
    source: str
    uris: tuple[str, ...]
    keep: Keep


@dataclass(frozen=True, slots=True)
class Deduplicate:
    """Event ids to compare: one bucket of those of some files, in the order of their precedence.

    Parameters
    ----------
    files
        Their addresses, and their keys where these are known.
    settled
        How many of the files come first and lose nothing.
    """

    store: Store
    source: str
    files: tuple[tuple[str, Keys | None], ...]
    settled: int
    bucket: int
    buckets: int

    @property
    def needed(self) -> list[Kept]:
        """What is needed where it runs."""
        return list({id(k.held): k.held for _, k in self.files if k is not None}.values())


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A file and the places of its rows that are duplicates."""

    store: Store
    source: str
    contract: Contract
    file: DataFile
    rows: tuple[int, ...]


def comparisons(contract: Contract, staged: Sequence[DataFile], existing: Sequence[DataFile]) -> list[Comparison]:
    """Return what together compares every staged event with every other and with the table's.

    Parameters
    ----------
    staged
        In the order of the manifest; no two rows of one task have the same id.
    existing
        Files of the table that may hold the same events.
    """
    settled = [f for f in existing if not f.streamed]
    ranked = [*settled, *staged, *(f for f in existing if f.streamed)]
    groups = [tuple(ranked)]
    if contract.event_at in contract.key:
        # Equal keys then have equal dates, and dates are directories: days compare apart.
        groups = _by_days(ranked)
    firm = {f.uri for f in settled}
    found = []
    for files in groups:
        first = sum(f.uri in firm for f in files)
        if len(files) >= 2 and first < len(files):
            found.append(Comparison(files, first, _buckets(sum(f.rows for f in files))))
    return found


def _buckets(rows: int) -> int:
    few, most = _BUCKET_ROWS
    return max(-(-rows // most), min(_BUCKETS, -(-rows // few)))


def reads(
    store: Store, source: str, found: Sequence[Comparison], keys: Mapping[str, Keys], keep: Keep
) -> list[ReadKeys]:
    """Return the tasks that read the keys which several buckets need and nobody has."""
    files = {f.uri: f for c in found if c.buckets > 1 for f in c.files if f.uri not in keys}
    groups: list[list[str]] = []
    rows = _READ_ROWS
    for file in files.values():
        if rows + file.rows > _READ_ROWS:
            groups.append([])
            rows = 0
        groups[-1].append(file.uri)
        rows += file.rows
    return [ReadKeys(store, source, tuple(uris), keep) for uris in groups]


def read_keys(task: ReadKeys) -> tuple[str, dict[str, Keys]]:
    """Return the source, and the keys of each file."""
    hashes = [id_hashes(_ids(task.store, uri)) for uri in task.uris]
    return task.source, kept_keys(task.uris, hashes, task.keep)


def kept_keys(uris: Sequence[str], hashes: list[_Hashes], keep: Keep) -> dict[str, Keys]:
    """Return the keys of files, whose hashes are kept together."""
    held = keep(hashes)
    return {uri: Keys(held, place) for place, uri in enumerate(uris)}


def bucket_tasks(store: Store, source: str, found: Comparison, keys: Mapping[str, Keys]) -> list[Deduplicate]:
    """Return the tasks of one comparison."""
    files = tuple((f.uri, keys.get(f.uri)) for f in found.files)
    return [Deduplicate(store, source, files, found.settled, b, found.buckets) for b in range(found.buckets)]


def within(window: timedelta | None, days: Iterable[str | None], files: Sequence[DataFile]) -> list[DataFile]:
    """Return the files of a table that may hold an event which new ones of these days are compared with."""
    if (start := searched_from(window, days)) is None:
        return list(files)
    oldest = start.isoformat()
    return [f for f in files if (_day(f) or oldest) >= oldest]


def searched_from(window: timedelta | None, days: Iterable[str | None]) -> date | None:
    """Return the first day that new events of these days are compared with; None when it is every one."""
    dates = [day for day in days if day]
    return date.fromisoformat(min(dates)) - window if window is not None and dates else None


def known(store: Store, files: Sequence[DataFile], ids: pl.Series) -> pl.DataFrame:
    """Return the events of the files that have one of these ids, and where: `file` (its place in `files`), `row`."""
    found = [pl.DataFrame(schema=_KNOWN)]
    for number, file in enumerate(files):
        have = pl.Series(store.read_parquet(file.uri, ["event_id"]).column("event_id")).is_in(ids.implode())
        if have.any():
            events = pl.DataFrame(store.read_parquet(file.uri, list(_PLACED))).with_row_index("row").filter(have)
            found.append(
                events.select(*_PLACED, pl.lit(number).cast(pl.Int64).alias("file"), pl.col("row").cast(pl.Int64))
            )
    return pl.concat(found)


def _by_days(ranked: Sequence[DataFile]) -> list[tuple[DataFile, ...]]:
    """Return the files in groups of whole days, each in the order of precedence."""
    undated = [f for f in ranked if not _day(f)]
    place = {f.uri: n for n, f in enumerate(ranked)}
    groups: list[list[DataFile]] = []
    rows = 0
    for _, found in groupby(sorted((f for f in ranked if _day(f)), key=_day), _day):
        files = [*found, *undated]
        added = sum(f.rows for f in files)
        if not groups or rows + added > _DAYS_ROWS:
            groups.append([])
            rows = 0
        groups[-1].extend(files)
        rows += added
    return [tuple(sorted(dict.fromkeys(files), key=lambda f: place[f.uri])) for files in groups]


def _day(file: DataFile) -> str:
    return dict(file.partition).get("event_date") or ""


def deduplicate(task: Deduplicate) -> tuple[str, list[tuple[str, int]]]:
    """Return the source, and the address and row of each event that a file of higher precedence has, or an earlier row.

    A settled file's event wins over a staged one, among staged ones the first of the manifest wins, and a streamed one
    loses to all.
    """
    files = _bucket(task)
    suspects = repeated(np.concatenate([hashes for _, hashes in files]))
    found = []
    end = 0
    for number, (rows, hashes) in enumerate(files):
        begin, end = end, end + len(hashes)
        places = np.flatnonzero(suspects[begin:end])
        if len(places):
            at = places if rows is None else rows[places]
            ids = pl.Series(_ids(task.store, task.files[number][0])).gather(at)
            found.append(pl.DataFrame({"file": np.full(len(at), number), "row": at, "event_id": ids}))
    if not found:
        return task.source, []
    alike = pl.concat(found)
    late = alike.filter(pl.col("event_id").is_first_distinct().not_() & (pl.col("file") >= task.settled))
    return task.source, [(task.files[n][0], row) for n, row in late.select("file", "row").iter_rows()]


def repeated(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Return which hashes occur more than once: few, where most events are new, and only these are looked at closer."""
    ordered = np.sort(hashes)
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not len(twice):
        return np.zeros(len(hashes), np.bool_)
    found: npt.NDArray[np.bool_] = pl.Series(hashes).is_in(pl.Series(twice).implode()).to_numpy()
    return found


def id_hashes(ids: pa.ChunkedArray[Any]) -> npt.NDArray[np.uint64]:
    """Return a hash of each event id, the same in every worker."""
    return pl.Series(ids).hash().to_numpy()


def first_of_each(ids: pa.ChunkedArray[Any], hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_] | None:
    """Return which event ids no earlier row has; None when that is all of them. `hashes` are theirs."""
    places = np.flatnonzero(repeated(hashes))
    if not len(places):
        return None
    texts = pl.Series(ids)
    late = places[texts.gather(places).is_first_distinct().not_().to_numpy()]
    if not len(late):
        return None
    first = np.ones(len(texts), np.bool_)
    first[late] = False
    return first


def _bucket(task: Deduplicate) -> list[tuple[npt.NDArray[np.int64] | None, _Hashes]]:
    """Return rows (None: all of them) and hashes of each file's events that fall into the task's bucket."""
    held: dict[int, list[_Hashes] | None] = {}
    found: list[tuple[npt.NDArray[np.int64] | None, _Hashes]] = []
    for uri, keys in task.files:
        if keys is not None and id(keys.held) not in held:
            held[id(keys.held)] = keys.held.take()
        known = held[id(keys.held)] if keys is not None else None
        hashes = id_hashes(_ids(task.store, uri)) if keys is None or known is None else known[keys.place]
        rows = None
        if task.buckets > 1:
            rows = np.flatnonzero(hashes % np.uint64(task.buckets) == task.bucket)
            hashes = hashes[rows]
        found.append((rows, hashes))
    return found


def _ids(store: Store, uri: str) -> pa.ChunkedArray[Any]:
    return store.read_parquet(uri, ["event_id"]).column("event_id")


def rewrite(task: Rewrite) -> tuple[str, str, WrittenFile | None]:
    """Return the source, the address, and a new file without the duplicates; None when no row is left."""
    table = events_table(task.store, task.source, task.contract)
    rows = task.store.read_parquet(task.file.uri)
    keep = np.ones(rows.num_rows, np.bool_)
    keep[list(task.rows)] = False
    kept = rows.filter(pa.array(keep))
    if kept.num_rows == 0:
        return task.source, task.file.uri, None
    written = table.write(kept, task.file.partition, streamed=task.file.streamed)
    return task.source, task.file.uri, written
