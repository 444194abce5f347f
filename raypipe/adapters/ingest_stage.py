"""What one worker does with landed objects: read, check and split them into files that no reader sees yet.

Pure but for the objects it reads and the new files it writes; nothing is committed. Does not know what runs it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.adapters.ingest_keys import without_repeats
from raypipe.adapters.lake.catalog import DEAD_LETTERS, dead_letters_table, events_table
from raypipe.adapters.lake.files import WrittenFile
from raypipe.adapters.lake.manifests import ManifestEntry
from raypipe.adapters.lake.store import Store
from raypipe.contracts.checks import check
from raypipe.contracts.contract import Contract
from raypipe.contracts.events import event_columns
from raypipe.contracts.formats import Unreadable, read_rows
from raypipe.contracts.gate import GateEvidence, observe, observe_unreadable

_BIN_BYTES = 32_000_000  # about 100 ms of reading and checking a task
_BIN_OBJECTS = 64


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


def stagings(store: Store, source: str, contract: Contract, manifest: Sequence[ManifestEntry]) -> list[Stage]:
    """Return the tasks that together stage a manifest: runs of neighbouring objects, each about one task's worth."""
    bins: list[list[ManifestEntry]] = []
    size = 0
    for entry in manifest:
        if not bins or size + entry.size_bytes > _BIN_BYTES or len(bins[-1]) == _BIN_OBJECTS:
            bins.append([])
            size = 0
        bins[-1].append(entry)
        size += entry.size_bytes
    return [Stage(store, source, contract, tuple(entries)) for entries in bins]


def stage(task: Stage) -> Staged:
    """Return files that hold the objects' accepted rows by event date, each event once, and the refused."""
    accepted: list[pa.Table] = []
    refused: list[pa.Table] = []
    evidence = []
    for entry in task.entries:
        good, bad, counts = _split(task, entry)
        accepted.append(good)
        refused.append(bad)
        evidence.append(counts)
    rows = pa.concat_tables(accepted)
    kept = without_repeats(rows)
    letters = pa.concat_tables(refused)
    return Staged(
        source=task.source,
        first_position=task.entries[0].position,
        accepted=tuple(_by_day(task, kept)),
        refused=dead_letters_table(task.store).write(letters) if letters.num_rows else None,
        evidence=reduce(GateEvidence.merge, evidence, GateEvidence()).without_duplicates(rows.num_rows - kept.num_rows),
    )


def _by_day(task: Stage, rows: pa.Table) -> Iterator[WrittenFile]:
    table = events_table(task.store, task.source, task.contract)
    days = rows.column("event_date")
    for day in pc.unique(days).sort():
        yield table.write(rows.filter(pc.equal(days, day)), (("event_date", str(day)),))


def _split(task: Stage, entry: ManifestEntry) -> tuple[pa.Table, pa.Table, GateEvidence]:
    schema = events_table(task.store, task.source, task.contract).schema
    try:
        raw = read_rows(task.store.read(entry.uri), entry.format, uri=entry.uri)
    except (Unreadable, FileNotFoundError) as error:
        return schema.empty_table(), _letters(task, entry, [(None, "", [f"unreadable: {error}"])]), observe_unreadable()
    checked = check(raw, task.contract)
    rows = event_columns(checked.accepted, task.contract, entry.known_at)
    added: dict[str, Any] = {
        "source_position": _joined(entry.uri, checked.accepted_rows),
        "contract_version": pa.repeat(task.contract.version, rows.num_rows),
        "generation": pa.repeat(pa.scalar(entry.generation, pa.int64()), rows.num_rows),
    }
    for name, column in added.items():
        rows = rows.append_column(name, column)
    broken = [(r["row"], r["raw"], [r["reason"]]) for r in raw.malformed.to_pylist()]
    broken += [(r["row"], r["raw"], r["reasons"]) for r in checked.refused.to_pylist()]
    return rows.select(schema.names).cast(schema), _letters(task, entry, broken), observe(raw, checked)


def _joined(uri: str, rows: pa.Array[Any]) -> pa.Array[Any]:
    """Return the position of each row: the object, `#`, and the row's number in it."""
    numbers: Any = rows.cast(pa.string())
    position: pa.Array[Any] = pc.binary_join_element_wise(pa.scalar(uri), numbers, "#")
    return position


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
