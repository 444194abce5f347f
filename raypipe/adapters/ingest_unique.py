"""Each event once: what of a staged manifest, and of the table, is left when they are put together.

A settled event of the table wins over a staged one, the first of the manifest over later ones, and every one of them
over a streamed one. Where days are replaced, all of their rows in the table give way. What was compared holds for the
table's turn; who finds at the commit that another writer came between compares with that one's files alone and tries
again. Only keys are read, on workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from raypipe.adapters.ingest_keys import (
    Comparison,
    Keys,
    Rewrite,
    bucket_tasks,
    comparisons,
    deduplicate,
    read_keys,
    reads,
    rewrite,
    within,
)
from raypipe.adapters.lake.catalog import events_table
from raypipe.adapters.lake.files import DataFile, WrittenFile
from raypipe.adapters.lake.store import Store
from raypipe.adapters.ray_map import keep, map_tasks
from raypipe.contracts.backfill import Days
from raypipe.contracts.contract import Contract


@dataclass(slots=True)
class Merged:
    """One source's staged files beside its table.

    Parameters
    ----------
    files
        Staged files in the order of the manifest, without what is a duplicate.
    window
        How far before the oldest staged event the table is searched; none means all of it.
    replaces
        Days of which no row stays.
    turn
        The table's turn that the comparison holds for.
    duplicates
        Staged rows that were left out.
    near
        Files of the table in the window, of days that stay.
    keys
        Of files, as far as they are known; the others are read.
    """

    source: str
    contract: Contract
    files: list[WrittenFile]
    window: timedelta | None
    replaces: Days | None = None
    turn: int = 0
    duplicates: int = 0
    near: list[DataFile] = field(default_factory=list)
    keys: dict[str, Keys] = field(default_factory=dict)
    _compared: set[str] = field(default_factory=set)
    _streamed: dict[str, _Shrunk] = field(default_factory=dict)
    _leaving: list[DataFile] = field(default_factory=list)

    def staged(self, store: Store) -> list[DataFile]:
        """Return the staged files by address."""
        return [_as_data(store, self.source, f) for f in self.files]

    def beside(self, store: Store, files: Sequence[DataFile]) -> list[DataFile]:
        """Return what files of the table become as the staged ones enter: less what leaves, and what is left of it."""
        gone = {f.uri for f in self.removed}
        left = [_as_data(store, self.source, s.left) for s in self._streamed.values() if s.left]
        return [*(f for f in files if f.uri not in gone), *left]

    @property
    def added(self) -> list[WrittenFile]:
        """Files that enter the table: the staged ones, and what is left of streamed ones."""
        return [*self.files, *(s.left for s in self._streamed.values() if s.left)]

    @property
    def removed(self) -> list[DataFile]:
        """Files that leave the table: of replaced days, and streamed ones that came to hold less."""
        return [*self._leaving, *(s.file for s in self._streamed.values())]

    @property
    def superseded(self) -> int:
        """Streamed rows that the staged ones replace."""
        return sum(s.file.rows - (s.left.rows if s.left else 0) for s in self._streamed.values())

    @property
    def replaced(self) -> int:
        """Rows of replaced days."""
        return sum(f.rows for f in self._leaving)


@dataclass(frozen=True, slots=True)
class _Shrunk:
    """A streamed file of the table, and what is left of it."""

    file: DataFile
    left: WrittenFile | None


def merge_with_table(store: Store, works: Sequence[Merged]) -> None:
    """Take out what occurs twice, until every work holds for the present turn of its table.

    May be called again after the table moved on: then only files that came since are read.
    """
    found: dict[str, list[Comparison]] = {}
    there = {}
    for work in works:
        table = events_table(store, work.source, work.contract)
        work.turn = table.turn()  # before its files: a turn that is too old only means another comparison
        files = table.files()
        work._leaving = [f for f in files if work.replaces and work.replaces.hold(dict(f.partition)["event_date"])]
        leaving = {f.uri for f in work._leaving}
        present = {f.uri: f for f in _within(work, files) if f.uri not in leaving}
        work.near = list(present.values())
        # What a compaction took away came back in another file, which is compared now.
        work._streamed = {uri: s for uri, s in work._streamed.items() if uri in present}
        new = [f for uri, f in present.items() if uri not in work._compared]
        staged = work.staged(store)
        if new or not work._compared:
            found[work.source] = comparisons(work.contract, staged, new)
        work._compared |= present.keys()
        there[work.source] = {f.uri: f for f in (*staged, *new)}
    by_name = {w.source: w for w in works}
    missing = [task for name, groups in found.items() for task in reads(store, name, groups, by_name[name].keys, keep)]
    for source, keys in map_tasks(read_keys, missing):
        by_name[source].keys.update(keys)
    tasks = []
    for name, groups in found.items():
        tasks += [task for group in groups for task in bucket_tasks(store, name, group, by_name[name].keys)]
    drops: dict[tuple[str, str], list[int]] = {}
    for source, rows in map_tasks(deduplicate, tasks):
        for uri, row in rows:
            drops.setdefault((source, uri), []).append(row)
    rewrites = [
        Rewrite(store, source, by_name[source].contract, there[source][uri], tuple(sorted(late)))
        for (source, uri), late in drops.items()
    ]
    for source, uri, left in map_tasks(rewrite, rewrites):
        _apply(store, by_name[source], there[source][uri], left)


def _apply(store: Store, work: Merged, file: DataFile, left: WrittenFile | None) -> None:
    if file.streamed:
        work._streamed[file.uri] = _Shrunk(file, left)
        return
    place = next(n for n, f in enumerate(work.files) if _as_data(store, work.source, f).uri == file.uri)
    work.duplicates += file.rows - (left.rows if left else 0)
    work.files[place : place + 1] = [left] if left else []


def _as_data(store: Store, source: str, file: WrittenFile) -> DataFile:
    return DataFile(f"{store.lake('events', source)}/{file.path}", file.rows, file.size_bytes, file.partition)


def _within(work: Merged, files: Sequence[DataFile]) -> list[DataFile]:
    """Return the files of the table that may hold an event of the deduplication window; none without staged rows."""
    dates = [value for f in work.files for name, value in f.partition if name == "event_date" and value]
    if not work.files:
        return []
    return within(work.window, dates, files)
