"""Generated rides to ingest: eight columns, a Parquet object a day, with late, double and broken rows in known numbers.

The same at every call. Does not know who ingests them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.ingest_peers import CITIES
from raypipe.config import Pipeline, load
from raypipe.ports import Ingested

OBJECT_ROWS = 166_667
LATE, DOUBLE, BROKEN = 0.01, 0.002, 0.003
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
    def objects(self) -> int:
        """How many objects there are."""
        return len(list(self.landing.iterdir()))

    @property
    def landing(self) -> Path:
        """Directory of the objects."""
        return self.root / "landing"


def generate(root: Path, rows: int) -> Place:
    """Return `rows` rides in objects below `root`, the same at every call."""
    landing = root / "landing"
    landing.mkdir()
    broken = double = 0
    for day in range(-(-rows // OBJECT_ROWS)):
        count = min(OBJECT_ROWS, rows - day * OBJECT_ROWS)
        frame, faults = _day(day, count)
        again = round(count * DOUBLE)
        # What is double is the whole row, somewhere behind its first.
        frame = pl.concat([frame.head(count - again), frame.filter(~faults).head(again)])
        broken += int(faults.head(count - again).sum())
        double += again
        frame.write_parquet(landing / f"{day:04d}.parquet", compression="snappy")
    return Place(root, _pipeline(root, str(landing)), rows, broken, double)


def landed(place: Place, uri: str) -> Place:
    """Return the same rides, whose objects are under `uri`."""
    return replace(place, pipeline=_pipeline(place.root, uri))


def _pipeline(root: Path, landing: str) -> Pipeline:
    (root / "rides.odcs.yaml").write_text(CONTRACT.replace("CITIES", ", ".join(f"{{value: {c}}}" for c in CITIES)))
    (root / "pipeline.yaml").write_text(PIPELINE.replace("LANDING", landing))
    return load(root / "pipeline.yaml")


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


def check(place: Place, done: Ingested) -> None:
    """Return when the counts are those that were generated."""
    found, counts = done.evidence, (place.rows, place.rows - place.broken - place.double, place.broken, place.double)
    if (found.rows, found.accepted, found.dead_letters, found.duplicates) != counts:
        raise SystemExit(f"rows, accepted, dead letters, duplicates are {found}, generated were {counts}")
    if done.snapshot.rows != found.accepted:
        raise SystemExit(f"the table has {done.snapshot.rows} rows, accepted were {found.accepted}")
