"""Examples built on Ray Data: one task a slice of time, each with a halo, nothing shuffled.

A join by entity would shuffle every row and let one hot entity hold up the rest. Time does not: the spine is cut into
contiguous slices of about equal size, and a task reads its slice, of each source only the rows that can matter to it
(its halo: the lookback before its first prediction up to its last), and of the labels those within `matures_within`
of its events. What it then runs is `raypipe.features.examples.build_examples`, which gives the same examples however
the spine is cut. Knows files and slices; does not know what a feature is, nor commits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import ray

from raypipe.adapters.lake.files import DataFile, TableFiles, WrittenFile
from raypipe.adapters.lake.store import Store
from raypipe.adapters.lake.tables import LakeTable
from raypipe.adapters.ray_map import map_tasks
from raypipe.errors import Unavailable
from raypipe.features.examples import build_examples, examples_schema, label_columns, prediction_times, source_columns
from raypipe.features.view import FeaturesSpec, LabelSpec

_TASKS_PER_CPU = 3
"""So that a slow slice is made up for by the others."""
_FEWEST_ROWS = 20_000
"""A slice of fewer spends more time on its halo and on being scheduled than on its own rows."""
_MOST_ROWS = 1_000_000
"""About 1 GB in a worker with a halo of as many rows."""


def build(
    *,
    target: LakeTable,
    spine: TableFiles,
    sources: Mapping[str, TableFiles],
    features: FeaturesSpec,
    label: LabelSpec,
    slices: int | None = None,
) -> list[WrittenFile]:
    """Return the files that now hold one example for every spine row, one file a slice, in order of time, uncommitted.

    Their rows are those of `build_examples` on the whole tables, bit for bit, for any number of slices. No spine row
    gives no file.

    Parameters
    ----------
    target
        The table the files are written under; its store is where all files are read.
    spine, sources
        Versions of the events tables; `sources` holds every view's source and the label's. Files with a partition
        value `event_date` are skipped when that day cannot matter.
    slices
        How many, at most the number of spine files; by default three for each CPU of the cluster, within 20,000 to a
        million rows each.

    Raises
    ------
    ConfigError
        When a view or the label does not fit the schemas; before any task runs.
    Unavailable
        When a file cannot be read.
    """
    schemas = {name: table.schema for name, table in sources.items()}
    examples_schema(spine=spine.schema, sources=schemas, features=features, label=label)
    job = _Job(target, spine.schema, dict(sources), features, label)
    tasks = list(enumerate(cut(spine.files, slices or _slices_for(spine.files))))
    written = dict(map_tasks(partial(_build_slice, job), tasks))
    return [written[number] for number in sorted(written)]


def cut(files: Sequence[DataFile], slices: int) -> list[tuple[DataFile, ...]]:
    """Return the files in order of `event_date`, in at most `slices` contiguous groups of about as many rows.

    Every file with rows is in exactly one group, and no group is empty.
    """
    ordered = sorted((f for f in files if f.rows), key=lambda f: (str(_day(f) or ""), f.uri))
    total, before = sum(f.rows for f in ordered), 0
    groups: dict[int, list[DataFile]] = {}
    for file in ordered:
        middle = before + file.rows / 2
        groups.setdefault(int(middle * slices / total), []).append(file)
        before += file.rows
    return [tuple(group) for _, group in sorted(groups.items())]


def _slices_for(files: Sequence[DataFile]) -> int:
    rows = sum(f.rows for f in files)
    cluster: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    wanted = _TASKS_PER_CPU * int(cluster.get("CPU", 1))
    return max(1, math.ceil(rows / _MOST_ROWS), min(rows // _FEWEST_ROWS, wanted))


@dataclass(frozen=True, slots=True)
class _Job:
    """What all slices share."""

    target: LakeTable
    spine_schema: pa.Schema
    sources: Mapping[str, TableFiles]
    features: FeaturesSpec
    label: LabelSpec


@dataclass(frozen=True, slots=True)
class _Halo:
    """The rows of a source that can matter: `event_at` from first to last, both included, and known by then."""

    first: datetime
    last: datetime
    known_by: datetime | None = None

    def has(self, file: DataFile) -> bool:
        day = _day(file)
        return day is None or self.first.date() <= day <= self.last.date()

    def filter(self) -> ds.Expression:
        found: ds.Expression = (ds.field("event_at") >= _scalar(self.first)) & (
            ds.field("event_at") <= _scalar(self.last)
        )
        return found if self.known_by is None else found & (ds.field("known_at") <= _scalar(self.known_by))


def _build_slice(job: _Job, task: tuple[int, tuple[DataFile, ...]]) -> tuple[int, WrittenFile]:
    number, files = task
    store = job.target.store
    spine = _read(store, job.spine_schema, files, job.spine_schema.names)
    predictions = _extent(prediction_times(spine, job.features.prediction_time))
    lookbacks: dict[str, timedelta] = {}
    for view in job.features.views:
        lookbacks[view.source] = max(view.lookback, lookbacks.get(view.source, view.lookback))
    sources = {}
    for name, lookback in lookbacks.items():
        halo = predictions and _Halo(predictions[0] - lookback, predictions[1], known_by=predictions[1])
        wanted = source_columns(job.features, name, job.sources[name].schema)
        sources[name] = _read_halo(store, job.sources[name], wanted, halo)
    events = _extent(spine.column("event_at"))
    reach = job.label.matures_within
    label_rows = _read_halo(
        store,
        job.sources[job.label.source],
        label_columns(job.label),
        events and _Halo(events[0] - reach, events[1] + reach),
    )
    examples = build_examples(
        spine=spine, sources=sources, features=job.features, label=job.label, label_rows=label_rows
    )
    return number, job.target.write(examples)


def _extent(times: pa.Array[Any] | pa.ChunkedArray[Any]) -> tuple[datetime, datetime] | None:
    """Return the first and the last time, None when there is none."""
    ends: Any = pc.min_max(times.cast(pa.timestamp("us", "UTC"))).as_py()
    return None if ends["min"] is None else (ends["min"], ends["max"])


def _read_halo(store: Store, table: TableFiles, columns: Sequence[str], halo: _Halo | None) -> pa.Table:
    if halo is None:
        return _read(store, table.schema, (), columns)
    return _read(store, table.schema, [f for f in table.files if halo.has(f)], columns, halo.filter())


def _read(
    store: Store,
    schema: pa.Schema,
    files: Sequence[DataFile],
    columns: Sequence[str],
    where: ds.Expression | None = None,
) -> pa.Table:
    """Return the files' rows in their order; a column that a file lacks is its partition value, or null."""
    if not files:
        return schema.empty_table().select(list(columns))
    kind = ds.ParquetFileFormat()
    filesystem, _ = store.filesystem(files[0].uri)
    fragments = [
        kind.make_fragment(store.filesystem(f.uri)[1], filesystem, partition_expression=_partition(f, schema))
        for f in files
    ]
    try:
        return ds.FileSystemDataset(fragments, schema, kind, filesystem).to_table(
            columns=list(columns), filter=where, use_threads=False
        )
    except OSError as error:
        raise Unavailable(
            f"{len(files)} files from {files[0].uri} on cannot be read ({error}): is the object store running, and was "
            "the table not vacuumed since this version? Nothing was lost, run again",
            system="s3",
            address=store.address.endpoint or store.address.lake,
        ) from error


def _partition(file: DataFile, schema: pa.Schema) -> ds.Expression | None:
    expression: ds.Expression | None = None
    for name, text in file.partition:
        if name not in schema.names:
            continue
        value = pa.array([text], pa.string()).cast(schema.field(name).type)[0]
        equal = ds.field(name).is_null() if text is None else ds.field(name) == value
        expression = equal if expression is None else expression & equal
    return expression


def _day(file: DataFile) -> date | None:
    text = dict(file.partition).get("event_date")
    return None if text is None else date.fromisoformat(text)


def _scalar(time: datetime) -> Any:
    return pa.scalar(time.astimezone(UTC), pa.timestamp("us", "UTC"))
