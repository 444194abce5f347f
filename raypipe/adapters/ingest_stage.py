"""What one worker does with landed objects: read, check and split them into files that no reader sees yet.

Pure but for the objects it reads and the new files it writes; nothing is committed. Does not know what runs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raypipe.adapters.ingest_keys import Keep, Keys, first_of_each, id_hashes, kept_keys
from raypipe.adapters.ingest_late import sample
from raypipe.adapters.ingest_split import Arrival, Split, numbered, split, unreadable
from raypipe.adapters.lake.catalog import dead_letters_table, events_table
from raypipe.adapters.lake.files import WrittenFile
from raypipe.adapters.lake.manifests import ManifestEntry
from raypipe.adapters.lake.store import Store
from raypipe.contracts.contract import Contract
from raypipe.contracts.formats import Unreadable, read_rows
from raypipe.contracts.gate import GateEvidence
from raypipe.contracts.generation_profile import GenerationProfile
from raypipe.contracts.letter_sample import LetterSample
from raypipe.errors import ObjectChanged

# About 150 ms of one core a task: a worker's memory grows with it, and nothing is gained by more.
_BIN_BYTES = 8_000_000
_BIN_OBJECTS = 64


@dataclass(frozen=True, slots=True)
class Stage:
    """Objects to read, check and split; `sampled` when ids of their events are to be sampled, `keep` keeps keys."""

    store: Store
    source: str
    contract: Contract
    entries: tuple[ManifestEntry, ...]
    keep: Keep
    sampled: bool = False


@dataclass(frozen=True, slots=True)
class Staged:
    """Files that hold the objects' rows, how many went where, and what they looked like; `keys` are the files'."""

    source: str
    first_position: int
    accepted: tuple[WrittenFile, ...]
    refused: WrittenFile | None
    evidence: GateEvidence
    profile: GenerationProfile
    sample: pa.Table | None = None
    keys: Mapping[str, Keys] = field(default_factory=dict)


def stagings(
    store: Store,
    source: str,
    contract: Contract,
    manifest: Sequence[ManifestEntry],
    *,
    keep: Keep,
    sampled: bool = False,
) -> list[Stage]:
    """Return the tasks that together stage a manifest: runs of neighbouring objects, each about one task's worth."""
    bins: list[list[ManifestEntry]] = []
    size = 0
    for entry in manifest:
        if not bins or size + entry.size_bytes > _BIN_BYTES or len(bins[-1]) == _BIN_OBJECTS:
            bins.append([])
            size = 0
        bins[-1].append(entry)
        size += entry.size_bytes
    return [Stage(store, source, contract, tuple(entries), keep, sampled) for entries in bins]


def stage(task: Stage) -> Staged:
    """Return files that hold the objects' accepted rows by event date, each event once, and the refused."""
    parts = [_split(task, entry) for entry in task.entries]
    rows = pa.concat_tables(p.accepted for p in parts)
    letters = pa.concat_tables(p.refused for p in parts)
    ids = rows.column("event_id")
    hashes = id_hashes(ids)
    written = list(_by_day(task, rows, hashes, first_of_each(ids, hashes)))
    accepted = tuple(file for file, _ in written)
    root = task.store.lake("events", task.source)
    evidence = reduce(GateEvidence.merge, (p.evidence for p in parts), GateEvidence())
    return Staged(
        source=task.source,
        first_position=task.entries[0].position,
        accepted=accepted,
        refused=dead_letters_table(task.store).write(letters) if letters.num_rows else None,
        evidence=evidence.without_duplicates(rows.num_rows - sum(f.rows for f in accepted)),
        profile=GenerationProfile.of(rows, task.contract, hashes, LetterSample.of(letters)),
        sample=sample(rows) if task.sampled else None,
        keys=kept_keys([f"{root}/{f.path}" for f in accepted], [kept for _, kept in written], task.keep),
    )


def _by_day(
    task: Stage, rows: pa.Table, hashes: npt.NDArray[np.uint64], first: npt.NDArray[np.bool_] | None
) -> Iterator[tuple[WrittenFile, npt.NDArray[np.uint64]]]:
    """Write the first row of each event, a file for each event date, and yield it with its hashes.

    Every row is copied once at most.
    """
    table = events_table(task.store, task.source, task.contract)
    dates = rows.column("event_date")
    for day in pc.unique(dates).sort():
        keep = pc.equal(dates, day).to_numpy()
        if first is not None:
            keep = keep & first
        every = bool(keep.all())
        kept = rows if every else rows.filter(pa.array(keep))
        if kept.num_rows:
            yield table.write(kept, (("event_date", str(day)),)), hashes if every else hashes[keep]


def _split(task: Stage, entry: ManifestEntry) -> Split:
    arrival = Arrival(task.source, task.contract, entry.generation, entry.known_at, entry.etag, entry.replaces)
    # A backfill takes what its objects hold now: a person named them, and nobody lists them again.
    version = None if entry.replaces else entry.etag
    try:
        raw = read_rows(task.store.read(entry.uri, version), entry.format, uri=entry.uri)
    except ObjectChanged as error:
        # No fault of the source, so the gate does not count it; the version that came after is a new object.
        return replace(unreadable(arrival, entry.uri, str(error)), evidence=GateEvidence())
    except (Unreadable, FileNotFoundError) as error:
        return unreadable(arrival, entry.uri, str(error))
    return split(raw, arrival, numbered(entry.uri))
