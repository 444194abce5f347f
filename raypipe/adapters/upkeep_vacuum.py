"""Files that no version in reach refers to leave the store: of old versions, and of runs that were killed.

A version is in reach while it is younger than a person says, or while a registered model was made from it; what a
killed run staged is in reach while its generation is open. Where it cannot be known what a version refers to, nothing
of the table is deleted, or nothing at all. Knows files and versions; does not know rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa

from raypipe.adapters.ingest_staged import staged_files
from raypipe.adapters.lake.bundles import LakeBundles
from raypipe.adapters.lake.catalog import added_columns, dead_letters_table
from raypipe.adapters.lake.decisions import Decisions
from raypipe.adapters.lake.log import TableLog
from raypipe.adapters.lake.objects import StoredObject
from raypipe.adapters.lake.store import Store
from raypipe.adapters.lake.tables import LakeTable
from raypipe.adapters.upkeep_plan import LONGEST_RUN, leftovers
from raypipe.boundary import boundary
from raypipe.errors import BundleRefused, GenerationMoved, RaypipeError
from raypipe.ports import ModelVersion

VACUUM = "vacuum"
"""The stream of its decisions, and what they decide."""


@dataclass(frozen=True, slots=True)
class Vacuum:
    """What of one table nobody needs.

    Parameters
    ----------
    table
        Its name.
    objects
        To be deleted.
    pinned
        Files that only models need, with their size.
    unknown
        Why nothing is deleted, where it cannot be known what is needed.
    """

    table: str
    objects: tuple[StoredObject, ...] = ()
    pinned: tuple[StoredObject, ...] = ()
    unknown: str = ""


Pins = Mapping[str, Mapping[int, str]]
"""Table -> version -> a model that was made from it."""


def pins(versions: Sequence[ModelVersion], bundles: LakeBundles) -> Pins:
    """Return which versions of tables the registered models were made from.

    Raises
    ------
    RaypipeError
        When it is not known of one: then no file can be called unneeded.
    """
    found: dict[str, dict[int, str]] = {}
    for version in versions:
        named = f"{version.name}/{version.version}"
        try:
            lineage = bundles.lineage(version.digest)
        except BundleRefused as error:
            raise RaypipeError(
                f"nothing is vacuumed: it is not known what {named} was made from ({error.message}): bring its bundle "
                "back, or delete the version from the registry if nobody needs to make it again",
                model=named,
            ) from error
        for snapshot in lineage.snapshots:
            if snapshot.version >= 0:
                found.setdefault(snapshot.table, {})[snapshot.version] = named
    return found


class Vacuums:
    """Finds and deletes the files of tables that nobody needs.

    Parameters
    ----------
    keep
        How long every version stays readable.
    """

    def __init__(self, store: Store, pins: Pins, clock: Callable[[], datetime], keep: timedelta) -> None:
        self._store, self._pins, self._clock, self._keep = store, pins, clock, keep

    def plan(self, name: str) -> Vacuum:
        """Return what of a table nobody needs."""
        table = LakeTable(self._store, name, pa.schema([]))
        staged = set(self._staged(name))  # before the table's files: a generation that ends meanwhile is in one of them
        version = table.standing().version
        if version < 0:
            return Vacuum(name)
        now, files = self._clock(), {f.uri for f in table.files(version)}
        listing = self._store.listing(f"{table.uri}/", private=True)
        if lost := files - {o.uri for o in listing}:
            return Vacuum(name, unknown=f"{len(lost)} files of version {version} are not where it says: {min(lost)}")
        log, kept = TableLog.of(listing), self._pins.get(name, {})
        if gone := [v for v in sorted(kept) if not log.has(v)]:
            return Vacuum(name, unknown=f"version {gone[0]}, which {kept[gone[0]]} was made from, has left its log")
        first = log.in_force(now - self._keep)
        needed = staged | files | ({f.uri for f in table.files(first)} if first is not None else set())
        # What is in none of these and was written before was committed before, or never will be.
        unneeded = leftovers(listing, table.uri, needed, now - self._keep - LONGEST_RUN)
        pinned = {f.uri for v in kept for f in table.files(v)}
        return Vacuum(
            name,
            tuple(o for o in unneeded if o.uri not in pinned),
            tuple(o for o in unneeded if o.uri in pinned),
        )

    def apply(self, vacuums: Sequence[Vacuum], who: str) -> None:
        """Delete what the plans say, after it is on record."""
        vacuums = [v for v in vacuums if v.objects]
        if not vacuums:
            return
        self._record(vacuums, who)
        for v in vacuums:
            with boundary(f"vacuum {v.table}"):
                self._store.remove([o.uri for o in v.objects])

    def _staged(self, name: str) -> Iterator[str]:
        """Yield what a run that was killed after its dead letters staged: whoever finishes it commits these files."""
        source = name.removeprefix("events/")
        stream, letters = f"ingest/{source}", dead_letters_table(self._store)
        if source != name and letters.generation(stream) > added_columns(self._store, source).generation(stream):
            for file in staged_files(letters, stream):
                yield self._store.lake(name, file.path)

    def _record(self, vacuums: Sequence[Vacuum], who: str) -> None:
        files = sum(len(v.objects) for v in vacuums)
        size = sum(o.size_bytes for v in vacuums for o in v.objects)
        evidence = {v.table: {"files": len(v.objects), "bytes": sum(o.size_bytes for o in v.objects)} for v in vacuums}
        while True:
            past = Decisions(self._store).stream(VACUUM)
            try:
                Decisions(self._store).record(
                    past[-1] if past else None,
                    stream=VACUUM,
                    at=self._clock(),
                    who=who,
                    what=VACUUM,
                    why=f"{files:,} files, {size:,} bytes: no version of the last {self._keep.days} days has them, "
                    "and no registered model was made from them",
                    evidence={"keep_days": self._keep.days, "tables": evidence},
                )
            except GenerationMoved:
                continue  # somebody else vacuums too; what both delete is gone once
            return
