"""What one worker does against duplicates: find events that are there already, write a file again without them.

Knows keys and files; does not know what was staged together, nor who commits. Reads no column but the event's id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from raypipe.adapters.lake.catalog import events_table
from raypipe.adapters.lake.files import DataFile, WrittenFile
from raypipe.adapters.lake.store import Store
from raypipe.contracts.contract import Contract

_BUCKET_ROWS = 8_000_000  # keys of one bucket stay under about 1 GB in a worker
_DAYS_ROWS = 2_000_000


@dataclass(frozen=True, slots=True)
class Deduplicate:
    """Event ids to compare: one bucket of those of the table's files and of staged files, in the manifest's order."""

    store: Store
    source: str
    existing: tuple[str, ...]
    staged: tuple[str, ...]
    bucket: int
    buckets: int


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A staged file and the places of its rows that are duplicates."""

    store: Store
    source: str
    contract: Contract
    path: str
    rows: tuple[int, ...]


def comparisons(
    store: Store, source: str, contract: Contract, staged: Sequence[WrittenFile], existing: Sequence[DataFile]
) -> list[Deduplicate]:
    """Return the tasks that together compare every staged event with every other and with the table's.

    Parameters
    ----------
    staged
        In the order of the manifest; no two rows of one task have the same id.
    existing
        Files of the table that may hold the same events.
    """
    groups = [(tuple(staged), tuple(existing))]
    if contract.event_at in contract.key:
        # Equal keys then have equal dates, and dates are directories: days compare apart.
        groups = _by_days(staged, existing)
    tasks = []
    for ours, theirs in groups:
        if len(ours) + len(theirs) < 2:
            continue
        buckets = -(-_rows(ours, theirs) // _BUCKET_ROWS)
        known, new = tuple(f.uri for f in theirs), tuple(f.path for f in ours)
        tasks += [Deduplicate(store, source, known, new, bucket, buckets) for bucket in range(buckets)]
    return tasks


def within_window(
    window: timedelta | None, staged: Sequence[WrittenFile], existing: Sequence[DataFile]
) -> list[DataFile]:
    """Return the files of the table that may hold an event of the deduplication window."""
    dates = [value for f in staged for name, value in f.partition if name == "event_date" and value]
    if window is None or not dates:
        return list(existing)
    oldest = (date.fromisoformat(min(dates)) - window).isoformat()
    return [f for f in existing if (dict(f.partition)["event_date"] or oldest) >= oldest]


def _by_days(
    staged: Sequence[WrittenFile], existing: Sequence[DataFile]
) -> list[tuple[tuple[WrittenFile, ...], tuple[DataFile, ...]]]:
    groups: list[tuple[list[WrittenFile], list[DataFile]]] = []
    rows = 0
    # Sorting is stable: within a day the manifest's order stays.
    for day, found in groupby(sorted(staged, key=_day), _day):
        ours, theirs = list(found), [f for f in existing if _day(f) in (day, "")]
        added = _rows(ours, theirs)
        if not groups or rows + added > _DAYS_ROWS:
            groups.append(([], []))
            rows = 0
        groups[-1][0].extend(ours)
        groups[-1][1].extend(theirs)
        rows += added
    return [(tuple(ours), tuple(dict.fromkeys(theirs))) for ours, theirs in groups]


def _rows(ours: Sequence[WrittenFile], theirs: Sequence[DataFile]) -> int:
    return sum(f.rows for f in ours) + sum(f.rows for f in theirs)


def _day(file: WrittenFile | DataFile) -> str:
    return dict(file.partition).get("event_date") or ""


def deduplicate(task: Deduplicate) -> tuple[str, list[tuple[str, int]]]:
    """Return the source, and the path and row of each staged event that is already known.

    An event of the table wins over a staged one; among staged ones the first of the manifest wins.
    """
    root = task.store.lake("events", task.source)
    uris = [*task.existing, *(f"{root}/{path}" for path in task.staged)]
    files = [_ids(task, uri) for uri in uris]
    suspects = repeated(np.concatenate([hashes for _, _, hashes in files]))
    found = []
    end = 0
    for number, (ids, rows, hashes) in enumerate(files):
        begin, end = end, end + len(hashes)
        places = np.flatnonzero(suspects[begin:end])
        found.append(
            pl.DataFrame({"file": np.full(len(places), number), "row": rows[places], "event_id": ids.gather(places)})
        )
    alike = pl.concat(found)
    first = len(task.existing)
    late = alike.filter(pl.col("event_id").is_first_distinct().not_() & (pl.col("file") >= first))
    return task.source, [(task.staged[n - first], row) for n, row in late.select("file", "row").iter_rows()]


def repeated(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Return which hashes occur more than once: few, where most events are new, and only these are looked at closer."""
    ordered = np.sort(hashes)
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not len(twice):
        return np.zeros(len(hashes), np.bool_)
    found: npt.NDArray[np.bool_] = pl.Series(hashes).is_in(pl.Series(twice).implode()).to_numpy()
    return found


def id_hashes(rows: pa.Table) -> npt.NDArray[np.uint64]:
    """Return a hash of each row's `event_id`, the same in every worker."""
    return pl.Series(rows.column("event_id")).hash().to_numpy()


def without_repeats(rows: pa.Table, hashes: npt.NDArray[np.uint64]) -> pa.Table:
    """Return the rows whose `event_id` no row before has; `hashes` are theirs."""
    places = np.flatnonzero(repeated(hashes))
    if not len(places):
        return rows
    ids = pl.Series(rows.column("event_id"))
    late = places[ids.gather(places).is_first_distinct().not_().to_numpy()]
    if not len(late):
        return rows
    keep = np.ones(rows.num_rows, np.bool_)
    keep[late] = False
    return rows.filter(pa.array(keep))


def _ids(task: Deduplicate, uri: str) -> tuple[pl.Series, npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """Return id, row and hash of the events of one file that fall into the task's bucket."""
    ids = pl.Series(task.store.read_parquet(uri, ["event_id"]).column("event_id"))
    hashes = ids.hash().to_numpy()
    rows = np.arange(len(hashes))
    if task.buckets > 1:
        rows = np.flatnonzero(hashes % np.uint64(task.buckets) == task.bucket)
        ids, hashes = ids.gather(rows), hashes[rows]
    return ids, rows, hashes


def rewrite(task: Rewrite) -> tuple[str, str, WrittenFile | None]:
    """Return the source, the path, and a new file without the duplicates; None when no row is left."""
    table = events_table(task.store, task.source, task.contract)
    rows = task.store.read_parquet(f"{table.uri}/{task.path}")
    keep = np.ones(rows.num_rows, np.bool_)
    keep[list(task.rows)] = False
    kept = rows.filter(pa.array(keep))
    day = dict(p.split("=", 1) for p in task.path.split("/")[:-1])["event_date"]
    if kept.num_rows == 0:
        return task.source, task.path, None
    return task.source, task.path, table.write(kept, (("event_date", day),))
