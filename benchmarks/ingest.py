"""Rows a second of ingestion with every gate on, beside a plain copy of the same files by Ray Data.

    make bench NAME=ingest            # or: python -m benchmarks.ingest --rows 500_000 --rounds 1

Generated rides (8 columns, 48 Parquet objects, one a day) with late, double and broken rows in known numbers. Ours
reads, types and checks them, sets the broken aside with reasons, removes doubles by key and commits files by event
date; `ray.data.read_parquet(...).write_parquet(...)` copies them. In turns, on one local cluster and one disk.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import ray
import ray.data
from rich.table import Table

from benchmarks.bench import Figures, measure, show, write
from raypipe.adapters.ingest_ray import RayIngestor
from raypipe.adapters.lake.store import Store
from raypipe.adapters.ray_map import quiet
from raypipe.config import Pipeline, load
from raypipe.environment import StoreAddress
from raypipe.ports import Ingested

OBJECTS = 48
LATE, DOUBLE, BROKEN = 0.01, 0.002, 0.003
CITIES = [
    "amsterdam",
    "berlin",
    "cairo",
    "delhi",
    "espoo",
    "fukuoka",
    "ghent",
    "hanoi",
    "izmir",
    "jaipur",
    "kyiv",
    "lima",
]
CONTRACT = """
apiVersion: v3.0.2
kind: DataContract
id: rides
version: 1.0.0
status: active
schema:
  - name: rides
    logicalType: object
    customProperties: [{property: eventAt, value: at}]
    properties:
      - name: ride
        logicalType: string
        required: true
        primaryKey: true
        logicalTypeOptions: {minLength: 12, maxLength: 12}
      - {name: at, logicalType: timestamp, required: true, logicalTypeOptions: {minimum: 2020-01-01T00:00:00Z}}
      - name: city
        logicalType: string
        required: true
        enum: [CITIES]
      - {name: plate, logicalType: string, required: true, logicalTypeOptions: {pattern: "^[A-Z]{2}[0-9]{4}$"}}
      - {name: distance_km, logicalType: number, required: true, logicalTypeOptions: {minimum: 0, maximum: 500}}
      - {name: fare, logicalType: number, required: true, logicalTypeOptions: {minimum: 0}}
      - {name: passengers, logicalType: integer, required: true, logicalTypeOptions: {minimum: 1, maximum: 8}}
      - {name: rating, logicalType: number, logicalTypeOptions: {minimum: 1, maximum: 5}}
"""
PIPELINE = """
name: rides
sources: {rides: {contract: rides.odcs.yaml, feeds: [{kind: objects, uri: "LANDING", format: parquet}]}}
features: {spine: rides, prediction_time: at, request: [distance_km]}
label: {name: dear, source: rides, from: fare > 30, matures_within: 1d}
training: {model: {kind: tabular_mlp}}
validation: {absolute: {auc: ">= 0.6"}}
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Generated objects, and how many of their rows are what."""

    root: Path
    pipeline: Pipeline
    rows: int
    broken: int
    double: int

    @property
    def landing(self) -> Path:
        """Directory of the objects."""
        return self.root / "landing"


def generate(root: Path, rows: int) -> Place:
    """Return `rows` rides in objects below `root`, the same at every call."""
    landing = root / "landing"
    landing.mkdir()
    per_object = -(-rows // OBJECTS)
    broken = double = 0
    for day in range(OBJECTS):
        count = min(per_object, rows - day * per_object)
        frame, faults = _day(day, count)
        again = round(count * DOUBLE)
        # What is double is the whole row, somewhere behind its first.
        frame = pl.concat([frame.head(count - again), frame.filter(~faults).head(again)])
        broken += int(faults.head(count - again).sum())
        double += again
        frame.write_parquet(landing / f"{day:03d}.parquet", compression="snappy")
    (root / "rides.odcs.yaml").write_text(CONTRACT.replace("CITIES", ", ".join(f"{{value: {c}}}" for c in CITIES)))
    (root / "pipeline.yaml").write_text(PIPELINE.replace("LANDING", str(landing)))
    return Place(root, load(root / "pipeline.yaml"), rows, broken, double)


def _day(day: int, count: int) -> tuple[pl.DataFrame, pl.Series]:
    """Return one day's rides, and which of them break a rule."""
    random = np.random.default_rng(day)
    start = int(datetime(2020, 1, 2, tzinfo=UTC).timestamp()) + day * 86_400
    second = np.sort(random.uniform(0, 86_400, count))
    late = (random.random(count) < LATE) * 86_400
    letters = np.array([chr(a) + chr(b) for a in range(65, 91) for b in range(65, 91)])
    frame = pl.DataFrame(
        {
            "ride": np.char.mod("%012x", (random.permutation(count) + day * 10_000_000) * 0x9E3779B1 % 16**12),
            "at": pl.Series(((start + second - late) * 1e6).astype(np.int64)).cast(pl.Datetime("us", "UTC")),
            "city": np.array(CITIES)[random.integers(0, len(CITIES), count)],
            "plate": pl.Series(letters[random.integers(0, len(letters), count)])
            + pl.Series(random.integers(0, 10_000, count)).cast(pl.String).str.zfill(4),
            "distance_km": random.gamma(2, 4, count),
            "fare": random.gamma(3, 6, count),
            "passengers": random.integers(1, 9, count),
            "rating": pl.Series(random.integers(10, 51, count) / 10).scatter(
                np.flatnonzero(random.random(count) < 0.2), None
            ),
        }
    )
    kind = pl.Series(np.where(random.random(count) < BROKEN, random.integers(1, 5, count), 0))
    frame = frame.with_columns(
        city=pl.when(kind == 1).then(pl.lit("atlantis")).otherwise("city"),
        plate=pl.when(kind == 2).then(pl.lit("none")).otherwise("plate"),
        fare=pl.when(kind == 3).then(None).otherwise("fare"),
        passengers=pl.when(kind == 4).then(99).otherwise("passengers"),
    )
    return frame, kind > 0


def ours(place: Place) -> float:
    """Return the rows a second of an ingestion into an empty lake, all rows accounted for."""
    lake = place.root / "lake"
    began = time.perf_counter()
    ingestor = RayIngestor(Store(StoreAddress(lake=str(lake))), lambda: datetime.now(UTC))
    done = ingestor.ingest(place.pipeline)["rides"]
    seconds = time.perf_counter() - began
    check(place, done)
    shutil.rmtree(lake)
    return place.rows / seconds


def check(place: Place, done: Ingested) -> None:
    """Return when the counts are those that were generated."""
    found, counts = done.evidence, (place.rows, place.rows - place.broken - place.double, place.broken, place.double)
    if (found.rows, found.accepted, found.dead_letters, found.duplicates) != counts:
        raise SystemExit(f"rows, accepted, dead letters, duplicates are {found}, generated were {counts}")
    if done.snapshot.rows != found.accepted:
        raise SystemExit(f"the table has {done.snapshot.rows} rows, accepted were {found.accepted}")


def copy(place: Place) -> float:
    """Return the rows a second of Ray Data's own copy."""
    out = place.root / "copy"
    began = time.perf_counter()
    ray.data.read_parquet(str(place.landing)).write_parquet(str(out))
    seconds = time.perf_counter() - began
    shutil.rmtree(out)
    return place.rows / seconds


def once(place: Place, number: int) -> Figures:
    """Return one round's figures; who goes first alternates."""
    first, second = (ours, copy) if number % 2 == 0 else (copy, ours)
    rates = {f.__name__: f(place) for f in (first, second)}
    return {
        "ours_rows_per_s": rates["ours"],
        "ray_copy_rows_per_s": rates["copy"],
        "gated_over_ray_copy": rates["ours"] / rates["copy"],
    }


@contextmanager
def prepared(rows: int) -> Iterator[Place]:
    """Yield the generated objects in a temporary directory, beside a local Ray cluster of all cores."""
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    with tempfile.TemporaryDirectory() as directory:
        place = generate(Path(directory), rows)
        ray.init(
            num_cpus=len(os.sched_getaffinity(0)),
            include_dashboard=False,
            object_store_memory=2_000_000_000,
            log_to_driver=False,
        )
        quiet(ray.data.DataContext.get_current())
        try:
            yield place
        finally:
            ray.shutdown()


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=8_000_000, help="another number is measured but not written")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with prepared(options.rows) as place:
        size = sum(f.stat().st_size for f in place.landing.iterdir())
        print(
            f"{place.rows:,} rows in {OBJECTS} objects of {size / 1e6:.0f} MB, "
            f"{place.broken:,} broken, {place.double:,} double"
        )
        once(place, 0)  # warm
        result = measure(
            lambda n: once(place, n + 1), rounds=options.rounds, packages=["ray", "polars", "pyarrow", "deltalake"]
        )
    if options.rows == parser.get_default("rows"):
        write("ingest", result)
    figures = result.figures
    table = Table("", "rows/s", title="Parquet to Parquet, local disk")
    table.add_row("ingest with every gate", f"{figures['ours_rows_per_s']:,.0f}")
    table.add_row("ray.data read_parquet -> write_parquet", f"{figures['ray_copy_rows_per_s']:,.0f}")
    table.add_row("gated_over_ray_copy", f"{figures['gated_over_ray_copy']:.2f}")
    show("ingest", result, [table])


if __name__ == "__main__":
    main()
