"""Accepted rows are compared with a kept sample of earlier event ids, to say how many are duplicates beyond the window.

The sample of a source is a small table, committed after the events. What it lacks is not compared: rows that a stream
or a replay brought, that came before a window was stated, or whose run was killed between the two commits. How much it
has of the table is part of the evidence. Knows samples and files; does not know what becomes of the verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl
import pyarrow as pa

from raypipe.adapters.lake.catalog import KEY_SAMPLES, SAMPLE_APP, events_table, key_samples_table
from raypipe.adapters.lake.files import WrittenFile
from raypipe.adapters.lake.store import Store
from raypipe.adapters.ray_map import map_tasks
from raypipe.contracts.backfill import Days
from raypipe.contracts.contract import Contract
from raypipe.contracts.late import Late, in_sample
from raypipe.contracts.source import SourceSpec
from raypipe.telemetry import event

_MANY_FILES = 64  # a generation adds one; then they become one


@dataclass(frozen=True, slots=True)
class Asked:
    """One source's generation whose rows are about to enter.

    Parameters
    ----------
    before
        The table was searched from this date on.
    accepted
        Rows that enter.
    sample
        `event_id` and `event_date` of staged rows that are in the sample, duplicates included.
    replaces
        Days of which no row stays.
    """

    source: str
    contract: Contract
    generation: int
    before: date
    accepted: int
    sample: pa.Table
    replaces: Days | None


@dataclass(frozen=True, slots=True)
class Sampled:
    """A generation's part of the sample, not committed; `whole` when it is all of the sample instead."""

    file: WrittenFile | None
    whole: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """What one worker compares: a generation's sample with the files of the kept one.

    Parameters
    ----------
    earlier_rows
        Rows that the table has before what was searched.
    whole
        Whether the kept sample is written again, without replaced days and in one file.
    """

    store: Store
    asked: Asked
    earlier_rows: int
    kept: tuple[str, ...]
    whole: bool


def is_sampled(spec: SourceSpec, contract: Contract) -> bool:
    """Return whether a duplicate can be beyond the window: not without one, nor where equal keys mean equal times."""
    return spec.dedup.window is not None and contract.event_at not in contract.key


def sample(rows: pa.Table) -> pa.Table:
    """Return id and date of the events that are in the sample."""
    return rows.select(["event_id", "event_date"]).filter(pa.array(in_sample(rows.column("event_id"))))


def check_late(store: Store, asked: Sequence[Asked]) -> dict[str, tuple[Late, Sampled]]:
    """Return, by source, what the sample says, and what is to be kept of it."""
    found = {}
    for source, late, sampled in map_tasks(compare, [comparison(store, a) for a in asked]):
        found[source] = late, sampled
        if late.earlier_rows:
            said = f"{late.matches:,} of {late.sampled:,} sampled event ids are among {late.earlier_sampled:,}"
            event("ingest", f"{source}: {said} from before {late.before}, where nothing was searched")
    return found


def keep_sample(store: Store, source: str, stream: str, generation: int, sampled: Sampled) -> None:
    """Commit the generation's part of the sample, once; whatever generations it lacks."""
    table = key_samples_table(store, source)
    if table.generation(stream) < generation:
        table.commit(
            [sampled.file] if sampled.file else [],
            app_id=SAMPLE_APP,
            generation=table.generation(SAMPLE_APP) + 1,
            overwrite=sampled.whole,
            positions={stream: generation},
        )


def comparison(store: Store, asked: Asked) -> Comparison:
    """Return the task that compares a generation with what is kept now."""
    kept = tuple(f.uri for f in key_samples_table(store, asked.source).files())
    days = [
        (date.fromisoformat(day), f.rows)
        for f in events_table(store, asked.source, asked.contract).files()
        if (day := dict(f.partition)["event_date"])
    ]
    gone = asked.replaces
    rows = sum(n for d, n in days if d < asked.before and not (gone and gone.start <= d < gone.until))
    return Comparison(store, asked, rows, kept, whole=gone is not None or len(kept) >= _MANY_FILES)


def compare(task: Comparison) -> tuple[str, Late, Sampled]:
    """Return the source, what the sample says, and a file of what is to be kept."""
    asked, table = task.asked, key_samples_table(task.store, task.asked.source)
    empty = KEY_SAMPLES.empty_table()
    kept = pl.DataFrame(pa.concat_tables([empty, *(task.store.read_parquet(uri) for uri in task.kept)]))
    if days := asked.replaces:
        kept = kept.filter(~pl.col("event_date").is_between(days.start, days.until, closed="left"))
    earlier = kept.filter(pl.col("event_date") < asked.before)
    searched = kept.filter(pl.col("event_date") >= asked.before)
    # What the searched dates have was a duplicate that did not enter; nor did what the manifest has again.
    staged = pl.DataFrame(asked.sample).unique("event_id", keep="first", maintain_order=True)
    new = staged.join(searched, on="event_id", how="anti")
    late = Late(
        before=asked.before,
        accepted=asked.accepted,
        sampled=new.height,
        earlier_rows=task.earlier_rows,
        earlier_sampled=earlier["event_id"].n_unique(),
        matches=new.join(earlier, on="event_id", how="semi").height,
    )
    new = new.with_columns(generation=pl.lit(asked.generation, pl.Int64))
    left = pl.concat([kept, new]) if task.whole else new
    file = table.write(left.to_arrow().cast(KEY_SAMPLES)) if left.height else None
    return asked.source, late, Sampled(file, task.whole)
