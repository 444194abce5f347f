"""What the table rules of a contract measure: the files of a generation, staged and without their duplicates.

Counts of a column add up over files, keys are compared in buckets, a query reads the columns that it names on one
worker; each is a task of its own. Reads files, and no column that no rule looks at. Does not know what the numbers must
be, nor who commits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl
import pyarrow as pa

from raypipe.adapters.ingest_unique import Merged
from raypipe.adapters.lake.catalog import events_table
from raypipe.adapters.lake.files import DataFile
from raypipe.adapters.lake.store import Store
from raypipe.adapters.ray_map import map_tasks
from raypipe.contracts import sql
from raypipe.contracts.contract import Contract
from raypipe.contracts.counting import Counts, columns_of, count, merge, missing, numbers, repeats
from raypipe.contracts.relationships import related
from raypipe.contracts.table_rules import DuplicateValues, MissingKeys, Query, RowCount, TableRule
from raypipe.telemetry import event

_BIN_ROWS = 4_000_000  # about a second of reading and counting a task
_BUCKET_ROWS = 8_000_000  # keys of one bucket stay under about 1 GB in a worker


@dataclass(frozen=True, slots=True)
class CountColumns:
    """Some of the files, and the rules whose columns are counted there."""

    store: Store
    source: str
    rules: tuple[TableRule, ...]
    uris: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CompareKeys:
    """One bucket of the files' keys, which are compared with those of the files `known`, or with each other."""

    store: Store
    source: str
    rule: str
    measure: DuplicateValues | MissingKeys
    uris: tuple[str, ...]
    known: tuple[str, ...]
    bucket: int
    buckets: int


@dataclass(frozen=True, slots=True)
class Ask:
    """All files and the query that is asked about them."""

    store: Store
    source: str
    rule: str
    measure: Query
    schema: pa.Schema
    uris: tuple[str, ...]


Task = CountColumns | CompareKeys | Ask


@dataclass(frozen=True, slots=True)
class Measured:
    """What a task adds to the numbers of a source's rules, and why it could not where it could not."""

    source: str
    counts: Counts
    failed: str | None = None


def measure_generations(
    store: Store, generations: Mapping[str, Merged], contracts: Mapping[str, Contract], now: datetime
) -> dict[str, dict[str, float | None]]:
    """Return the numbers of each source's table rules, by rule; of the sources that have any.

    Parameters
    ----------
    generations
        By source, beside their tables; keys are looked up in these and in what the lake has.
    contracts
        Of every source of the pipeline.
    now
        The time of the ingest, aware.
    """
    ruled = {name: g for name, g in generations.items() if g.contract.table_rules}
    parts: dict[str, Counts] = {}
    for name, generation in ruled.items():
        rows = sum(f.rows for f in generation.files)
        parts[name] = {r.name: rows for r in generation.contract.table_rules if isinstance(r.measure, RowCount)}
    tasks = [t for name in ruled for t in measurings(store, name, generations, contracts)]
    for found in map_tasks(measure, tasks):
        parts[found.source] = merge(parts[found.source], found.counts)
        if found.failed:
            event("ingest", f"{found.source}: {found.failed}")
    return {name: numbers([parts[name]], g.contract.table_rules, now) for name, g in ruled.items()}


def measurings(
    store: Store, source: str, generations: Mapping[str, Merged], contracts: Mapping[str, Contract]
) -> list[Task]:
    """Return the tasks that together measure every table rule of a source, each measure once."""
    generation = generations[source]
    staged = generation.staged(store)
    uris = tuple(f.uri for f in staged)
    rules = tuple({r.name: r for r in generation.contract.table_rules}.values())
    tasks: list[Task] = []
    if columns_of(rules):
        tasks += [CountColumns(store, source, rules, bin_) for bin_ in _bins(staged)]
    for rule in rules:
        match rule.measure:
            case Query():
                tasks.append(Ask(store, source, rule.name, rule.measure, generation.contract.schema, uris))
            case DuplicateValues():
                known = generation.beside(store, generation.near) if rule.measure.in_table else []
                tasks += _comparisons(store, source, rule.name, rule.measure, staged, known)
            case MissingKeys():
                other = related(rule.measure, contracts)
                known = list(events_table(store, other, contracts[other]).files())
                if (merged := generations.get(other)) is not None:
                    known = [*merged.beside(store, known), *merged.staged(store)]
                tasks += _comparisons(store, source, rule.name, rule.measure, staged, known)
            case _:
                pass
    return tasks


def _bins(files: Sequence[DataFile]) -> Iterator[tuple[str, ...]]:
    """Yield the files in groups of about one task's worth."""
    found: list[str] = []
    rows = 0
    for file in files:
        if found and rows + file.rows > _BIN_ROWS:
            yield tuple(found)
            found, rows = [], 0
        found.append(file.uri)
        rows += file.rows
    if found:
        yield tuple(found)


def _comparisons(
    store: Store,
    source: str,
    rule: str,
    measure: DuplicateValues | MissingKeys,
    staged: Sequence[DataFile],
    known: Sequence[DataFile],
) -> list[CompareKeys]:
    buckets = -(-sum(f.rows for f in (*staged, *known)) // _BUCKET_ROWS)
    uris, there = tuple(f.uri for f in staged), tuple(f.uri for f in known)
    return [CompareKeys(store, source, rule, measure, uris, there, bucket, buckets) for bucket in range(buckets)]


def measure(task: Task) -> Measured:
    """Return what the task's files, or its bucket of their keys, add to the numbers of its rules."""
    match task:
        case CountColumns():
            counts: Counts = {}
            for uri in task.uris:
                counts = merge(counts, count(_rows(task.store, uri, columns_of(task.rules)), task.rules))
            return Measured(task.source, counts)
        case CompareKeys():
            keys = _bucket(task, task.uris, task.measure.columns)
            if isinstance(task.measure, MissingKeys):
                return Measured(task.source, {task.rule: missing(keys, _known(task, task.measure.keys))})
            return Measured(task.source, {task.rule: repeats(keys, _known(task, task.measure.columns))})
        case Ask():
            columns = pa.schema([task.schema.field(name) for name in task.measure.columns])
            tables = [task.store.read_parquet(uri, columns.names).cast(columns) for uri in task.uris]
            rows = pa.concat_tables([columns.empty_table(), *tables])
            try:
                return Measured(task.source, {task.rule: sql.answer(task.measure.sql, task.measure.table, rows)})
            except sql.SqlError as error:
                return Measured(task.source, {}, f"{task.rule} gave no number: {error}")


def _rows(store: Store, uri: str, columns: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame(store.read_parquet(uri, columns))


def _bucket(task: CompareKeys, uris: Sequence[str], columns: Sequence[str]) -> pl.DataFrame:
    """Return the keys that fall into the task's bucket; equal keys fall into one."""
    found = []
    for uri in uris:
        keys = _rows(task.store, uri, columns).select(columns)
        if task.buckets > 1:
            keys = keys.filter(keys.hash_rows(seed=0) % task.buckets == task.bucket)
        found.append(keys)
    return pl.concat(found) if found else pl.DataFrame(schema=dict.fromkeys(columns, pl.Null))


def _known(task: CompareKeys, columns: Sequence[str]) -> pl.DataFrame:
    """Return the keys of the task's bucket that are there already, each file's only once."""
    found = [_bucket(task, [uri], columns).unique() for uri in task.known]
    return pl.concat(found) if found else pl.DataFrame(schema=dict.fromkeys(columns, pl.Null))
