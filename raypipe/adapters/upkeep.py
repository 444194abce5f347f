"""The lake's upkeep: old rows leave, small files become few, files that nobody needs are deleted.

    retention ──▶ compaction ──▶ vacuum

Each step first looks, then acts, and can be repeated: killed anywhere, the next upkeep finds what is left to do. It
runs in one process beside ingestion, streams and replays, and needs no cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

import pyarrow as pa

from raypipe.adapters import upkeep_compact
from raypipe.adapters.lake.bundles import LakeBundles
from raypipe.adapters.lake.catalog import (
    dead_letters_table,
    events_table,
    letter_fates_table,
    predictions_table,
    shadow_pairs_table,
)
from raypipe.adapters.lake.decisions import SCHEMA as DECISIONS
from raypipe.adapters.lake.manifests import SCHEMA as MANIFESTS
from raypipe.adapters.lake.store import Store
from raypipe.adapters.lake.tables import LakeTable
from raypipe.adapters.upkeep_compact import Compaction
from raypipe.adapters.upkeep_retention import Expiry, Retainer
from raypipe.adapters.upkeep_vacuum import Vacuum, Vacuums, pins
from raypipe.config import Pipeline
from raypipe.ports import ModelVersion


class Step(StrEnum):
    """What is done to a table, in this order."""

    RETENTION = "retention"
    COMPACTION = "compaction"
    VACUUM = "vacuum"
    KEPT = "kept"
    """Not done, and why."""


@dataclass(frozen=True, slots=True)
class Upkept:
    """What one step does to one table.

    Parameters
    ----------
    step, table
        Which.
    rows
        That leave, or lie in other files afterwards; None where that is not known without reading them.
    files, size_bytes
        That leave the table, or the store.
    why
        In words.
    """

    step: Step
    table: str
    rows: int | None
    files: int
    size_bytes: int
    why: str


class Versions(Protocol):
    """Knows the registered models."""

    def versions(self) -> Sequence[ModelVersion]:
        """Return every registered version of every model."""


class Upkeep:
    """Upkeep of a lake, for the sources of one pipeline file and the tables that all share.

    Parameters
    ----------
    store
        The lake.
    registry
        Makes what knows the registered models; asked when it comes to the vacuum.
    clock
        Wall time, aware UTC.
    """

    def __init__(self, store: Store, registry: Callable[[], Versions], clock: Callable[[], datetime]) -> None:
        self._store, self._registry, self._clock = store, registry, clock

    def run(self, pipeline: Pipeline, keep: timedelta, *, who: str, dry_run: bool = False) -> Iterator[Upkept]:
        """Yield what was done, or with `dry_run` would be, as soon as it is.

        Parameters
        ----------
        keep
            How long every version of a table stays readable.

        Raises
        ------
        Unavailable, AccessDenied
            When the store or the registry does not answer, or refuses; what was yielded is done.
        RaypipeError
            When it is not known what a registered model was made from: nothing is vacuumed.
        """
        if not dry_run:
            for name in self._names(pipeline):
                LakeTable(self._store, name, pa.schema([])).keep_log()
        for source in pipeline.spec.sources:
            yield from self._retain(pipeline, source, who, dry_run)
        for table in self._grown(pipeline):
            yield from self._compact(table, dry_run)
        yield from self._vacuum(pipeline, keep, who, dry_run)

    def _retain(self, pipeline: Pipeline, source: str, who: str, dry_run: bool) -> Iterator[Upkept]:
        contract = pipeline.contracts[source]
        retainer = Retainer(self._store, source, contract, self._clock, who)
        if not dry_run:
            retainer.settle()
        for expiry in retainer.plan():
            assert contract.retention is not None
            done = expiry if dry_run else retainer.apply(expiry, contract.retention)
            if done.files:
                yield _expired(done, contract.retention.text)

    def _compact(self, table: LakeTable, dry_run: bool) -> Iterator[Upkept]:
        planned = upkeep_compact.plan(table)
        if not planned.groups:
            return
        done = planned if dry_run else upkeep_compact.apply(table, planned)
        if done.groups:
            yield _compacted(done)
        else:
            why = "others wrote the table all the while: the next upkeep tries again"
            yield Upkept(Step.KEPT, table.name, None, len(planned.files), _size(planned), why)

    def _vacuum(self, pipeline: Pipeline, keep: timedelta, who: str, dry_run: bool) -> Iterator[Upkept]:
        of_models = pins(self._registry().versions(), LakeBundles(self._store))
        vacuums = Vacuums(self._store, of_models, self._clock, keep)
        planned = [vacuums.plan(name) for name in self._names(pipeline)]
        if not dry_run:
            vacuums.apply(planned, who)
        for v in planned:
            yield from _vacuumed(v, keep)

    def _grown(self, pipeline: Pipeline) -> Iterator[LakeTable]:
        """Yield the tables of which every commit adds files. Key samples and profiles keep themselves small."""
        for source in pipeline.spec.sources:
            yield events_table(self._store, source, pipeline.contracts[source])
        yield dead_letters_table(self._store)
        yield letter_fates_table(self._store)
        yield LakeTable(self._store, "manifests", MANIFESTS)
        yield LakeTable(self._store, "decisions", DECISIONS)
        yield predictions_table(self._store)
        yield shadow_pairs_table(self._store)

    def _names(self, pipeline: Pipeline) -> Iterator[str]:
        yield from (t.name for t in self._grown(pipeline))
        yield from (f"key_samples/{source}" for source in pipeline.spec.sources)
        yield from ("profiles", f"examples/{pipeline.spec.name}")


def _expired(done: Expiry, kept_for: str) -> Upkept:
    why = f"from before {done.keeps_from}, kept for {kept_for}"
    return Upkept(Step.RETENTION, done.table, done.rows, len(done.files), done.size_bytes, why)


def _compacted(done: Compaction) -> Upkept:
    rows = sum(f.rows for f in done.files)
    return Upkept(Step.COMPACTION, done.table, rows, len(done.files), _size(done), f"become {len(done.groups):,}")


def _size(compaction: Compaction) -> int:
    return sum(f.size_bytes for f in compaction.files)


def _vacuumed(v: Vacuum, keep: timedelta) -> Iterator[Upkept]:
    if v.unknown:
        yield Upkept(Step.KEPT, v.table, None, 0, 0, f"not vacuumed: {v.unknown}")
    for step, objects, why in (
        (Step.VACUUM, v.objects, f"of no version of the last {keep.days} days"),
        (Step.KEPT, v.pinned, "a registered model was made from them"),
    ):
        if objects:
            yield Upkept(step, v.table, None, len(objects), sum(o.size_bytes for o in objects), why)
