"""A small pipeline with two sources, whose data is made here: enough to learn from, quick to run.

Sources are the lake's, so each pipeline has sources of its own: `<name>_trips` and `<name>_ends`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from raypipe.adapters.lake.store import Store

TRIPS = """
apiVersion: v3.0.2
kind: DataContract
id: trips
version: 1.0.0
status: active
schema:
  - name: trips
    logicalType: object
    customProperties:
      - {property: eventAt, value: started_at}
      - {property: knownAt, value: started_at}
    properties:
      - {name: trip, logicalType: string, required: true, primaryKey: true, primaryKeyPosition: 1}
      - {name: started_at, logicalType: timestamp, required: true}
      - {name: city, logicalType: string, required: true}
      - {name: distance, logicalType: number, required: true, logicalTypeOptions: {minimum: 0, maximum: 1000}}
"""
ENDS = """
apiVersion: v3.0.2
kind: DataContract
id: ends
version: 1.0.0
status: active
schema:
  - name: ends
    logicalType: object
    customProperties:
      - {property: eventAt, value: started_at}
      - {property: knownAt, value: ended_at}
    properties:
      - {name: trip, logicalType: string, required: true, primaryKey: true, primaryKeyPosition: 1}
      - {name: started_at, logicalType: timestamp, required: true}
      - {name: ended_at, logicalType: timestamp, required: true}
      - {name: city, logicalType: string, required: true}
      - {name: minutes, logicalType: number, required: true}
"""
PIPELINE = """
name: NAME
sources:
  NAME_trips:
    contract: trips.odcs.yaml
    feeds: [{kind: objects, uri: "LANDING/trips/", format: csv}]
  NAME_ends:
    contract: ends.odcs.yaml
    feeds: [{kind: objects, uri: "LANDING/ends/", format: jsonl}]
features:
  spine: NAME_trips
  prediction_time: started_at
  request: [city, distance]
  views:
    - name: town
      entity: [city]
      source: NAME_ends
      aggregate: {minutes_1d: {mean: minutes, over: 1d}}
label: {name: long, source: NAME_ends, from: "minutes > 30", matures_within: 1d}
training:
  model: {kind: tabular_mlp, width: 8, depth: 1, epochs: 2, batch_size: 64, learning_rate: 0.02}
  split: {kind: time, validation: 20%}
validation:
  absolute: {auc: ">= 0.6"}
  versus_champion: {metric: auc, margin: 0.3}    # so few rows tell no smaller difference
release: {replicas: 1, cpus_per_replica: 0.1, deadline: 2m}
"""
PER_DAY = 150


@dataclass(frozen=True)
class Trips:
    """One such pipeline: its name, its file, and where its data lands."""

    name: str
    file: Path
    landing: str
    store: Store

    def land(self, day: int, replayed: int = 3, broken: int = 2) -> None:
        """Land one day of both sources, with some rows of the day before once more and some broken ones."""
        ends, trips = [], ["trip,started_at,city,distance"]
        for number in range(max(0, day * PER_DAY - replayed * (day > 0)), (day + 1) * PER_DAY):
            trip, started, city, distance, minutes = _trip(number)
            trips.append(f"{trip},{started.isoformat()},{city},{distance:.1f}")
            record = {"trip": trip, "started_at": started.isoformat(), "city": city, "minutes": round(minutes, 1)}
            ends.append(json.dumps(record | {"ended_at": (started + timedelta(minutes=minutes)).isoformat()}))
        trips += [f"broken{n},01-02-2020 10:00,north,5" for n in range(broken)]
        ends += ['{"trip": '] * broken
        self.store.write(f"{self.landing}/trips/{day:03d}.csv", "\n".join(trips).encode())
        self.store.write(f"{self.landing}/ends/{day:03d}.jsonl", "\n".join(ends).encode())


def make_trips(root: Path, store: Store, name: str, days: int = 4) -> Trips:
    """Return a pipeline below `root` whose first days have landed."""
    root.mkdir(parents=True, exist_ok=True)
    landing = f"s3://landing/{name}"
    (root / "trips.odcs.yaml").write_text(TRIPS)
    (root / "ends.odcs.yaml").write_text(ENDS)
    file = root / "pipeline.yaml"
    file.write_text(PIPELINE.replace("NAME", name).replace("LANDING", landing))
    trips = Trips(name, file, landing, store)
    for day in range(days):
        trips.land(day)
    return trips


def _trip(number: int) -> tuple[str, datetime, str, float, float]:
    """Return the trip of this number, the same at every call: long ones are long because they go far, mostly."""
    random = np.random.default_rng(number)
    started = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(minutes=number * 1440 / PER_DAY)
    city = str(random.choice(["north", "south"]))
    distance = float(random.uniform(1, 20))
    minutes = distance * (3.5 if city == "north" else 2.5) * float(random.uniform(0.7, 1.4))
    return f"t{number:06d}", started, city, distance, minutes
