"""What one worker does for ingestion: stage objects, find duplicate keys, write a file again without them.

Each function is pure but for the objects it reads and the new files it writes; none of them commits. Does not know
what runs it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from raypipe.adapters.lake.catalog import DEAD_LETTERS, dead_letters_table, events_table
from raypipe.adapters.lake.files import WrittenFile
from raypipe.adapters.lake.manifests import ManifestEntry
from raypipe.adapters.lake.store import Store
from raypipe.contracts.checks import check
from raypipe.contracts.contract import Contract
from raypipe.contracts.events import event_columns
from raypipe.contracts.formats import Unreadable, read_rows
from raypipe.contracts.gate import GateEvidence, observe, observe_unreadable


@dataclass(frozen=True, slots=True)
class Stage:
    """Objects to read, check and split."""

    store: Store
    source: str
    contract: Contract
    entries: tuple[ManifestEntry, ...]


@dataclass(frozen=True, slots=True)
class Staged:
    """Files that hold the objects' rows, and how many went where."""

    source: str
    first_position: int
    accepted: tuple[WrittenFile, ...]
    refused: WrittenFile | None
    evidence: GateEvidence


@dataclass(frozen=True, slots=True)
class Deduplicate:
    """Keys to compare: one bucket of the event ids of staged files and of the table's files."""

    store: Store
    source: str
    staged: tuple[str, ...]
    existing: tuple[str, ...]
    objects: tuple[str, ...]
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


def stage(task: Stage) -> Staged:
    """Return files that hold the objects' accepted rows by event date, and their refused rows with reasons."""
    accepted: list[pa.Table] = []
    refused: list[pa.Table] = []
    evidence = []
    for entry in task.entries:
        good, bad, counts = _split(task, entry)
        accepted.append(good)
        refused.append(bad)
        evidence.append(counts)
    table = events_table(task.store, task.source, task.contract)
    rows = pa.concat_tables(accepted)
    files = []
    days = rows.column("event_date").cast(pa.string())
    for day in sorted(str(d) for d in pc.unique(days).to_pylist()):
        files.append(table.write(rows.filter(pc.equal(days, pa.scalar(day))), (("event_date", day),)))
    letters = pa.concat_tables(refused)
    return Staged(
        source=task.source,
        first_position=task.entries[0].position,
        accepted=tuple(files),
        refused=dead_letters_table(task.store).write(letters) if letters.num_rows else None,
        evidence=reduce(GateEvidence.merge, evidence, GateEvidence()),
    )


def _split(task: Stage, entry: ManifestEntry) -> tuple[pa.Table, pa.Table, GateEvidence]:
    schema = events_table(task.store, task.source, task.contract).schema
    try:
        raw = read_rows(task.store.read(entry.uri), entry.format, uri=entry.uri)
    except (Unreadable, FileNotFoundError) as error:
        return schema.empty_table(), _letters(task, entry, [(None, "", [f"unreadable: {error}"])]), observe_unreadable()
    checked = check(raw, task.contract)
    rows = event_columns(checked.accepted, task.contract, entry.known_at)
    places = pl.Series(checked.accepted_rows, dtype=pl.Int64).cast(pl.String)
    constants: dict[str, pa.Array[Any]] = {
        "source_position": (f"{entry.uri}#" + places).to_arrow().cast(pa.string()),
        "contract_version": pa.repeat(task.contract.version, rows.num_rows),
        "generation": pa.repeat(pa.scalar(entry.generation, pa.int64()), rows.num_rows),
    }
    for name, column in constants.items():
        rows = rows.append_column(name, column)
    broken = [(r["row"], r["raw"], [r["reason"]]) for r in raw.malformed.to_pylist()]
    broken += [(r["row"], r["raw"], r["reasons"]) for r in checked.refused.to_pylist()]
    return rows.select(schema.names).cast(schema), _letters(task, entry, broken), observe(raw, checked)


def _letters(task: Stage, entry: ManifestEntry, broken: Sequence[tuple[int | None, str, list[str]]]) -> pa.Table:
    positions = [entry.uri if row is None else f"{entry.uri}#{row}" for row, _, _ in broken]
    # The same record of the same object version is the same letter, however often it is staged.
    ids = [hashlib.sha256(f"{task.source} {entry.etag} {p}".encode()).hexdigest()[:32] for p in positions]
    count = len(positions)
    return pa.table(
        {
            "letter_id": ids,
            "source": [task.source] * count,
            "raw": [raw for _, raw, _ in broken],
            "reasons": [reasons for _, _, reasons in broken],
            "source_position": positions,
            "contract_version": [task.contract.version] * count,
            "generation": [entry.generation] * count,
            "known_at": [entry.known_at] * count,
            "replayed_at": [None] * count,
        },
        schema=DEAD_LETTERS,
    )


def deduplicate(task: Deduplicate) -> tuple[str, list[tuple[str, int]]]:
    """Return the source, and the path and row of each staged event that is already known.

    An event of the table wins over a staged one; among staged ones the first of the manifest wins.
    """
    root = task.store.lake("events", task.source)
    staged = [_keys(task, f"{root}/{path}", index) for index, path in enumerate(task.staged)]
    known = [_keys(task, uri, -1) for uri in task.existing]
    order = pl.DataFrame({"object": task.objects, "position": range(len(task.objects))})
    keys = pl.concat([*staged, *known]).join(order, on="object", how="left").with_columns(
        order=pl.when(pl.col("file") < 0).then(-1).otherwise(pl.col("position") * 2**40 + pl.col("source_row"))
    )  # fmt: skip
    late = keys.filter((pl.col("order") > pl.col("order").min().over("event_id")) & (pl.col("file") >= 0))
    return task.source, [(task.staged[file], row) for file, row in late.select("file", "row").iter_rows()]


def _keys(task: Deduplicate, uri: str, file: int) -> pl.DataFrame:
    """Return event id, place and origin of the rows of one file that fall into the task's bucket."""
    columns = ["event_id", "source_position"] if file >= 0 else ["event_id"]
    rows = pl.DataFrame(task.store.read_parquet(uri, columns))
    if file < 0:
        rows = rows.with_columns(source_position=pl.lit("#0"))
    parts = pl.col("source_position").str.extract_groups(r"^(?<object>.*)#(?<source_row>\d+)$")
    rows = rows.with_row_index("row").with_columns(parts.alias("parts")).unnest("parts")
    if task.buckets > 1:
        rows = rows.filter(pl.col("event_id").hash() % task.buckets == task.bucket)
    return rows.select(
        "event_id",
        "object",
        pl.col("source_row").cast(pl.Int64),
        pl.col("row").cast(pl.Int64),
        pl.lit(file, pl.Int64).alias("file"),
    )


def rewrite(task: Rewrite) -> tuple[str, str, WrittenFile | None]:
    """Return the source, the path, and a new file without the duplicates; None when no row is left."""
    table = events_table(task.store, task.source, task.contract)
    rows = task.store.read_parquet(f"{table.uri}/{task.path}")
    keep = pl.Series(range(rows.num_rows)).is_in(pl.Series(task.rows, dtype=pl.Int64)).not_()
    kept = rows.filter(keep.to_arrow())
    day = dict(p.split("=", 1) for p in task.path.split("/")[:-1])["event_date"]
    if kept.num_rows == 0:
        return task.source, task.path, None
    return task.source, task.path, table.write(kept, (("event_date", day),))
