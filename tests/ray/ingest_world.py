"""A small landing zone and its lake, for tests of ingestion on a cluster."""

import json
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.adapters.ingest_ray import RayIngestor
from raypipe.adapters.ingest_split import Arrival, numbered, split
from raypipe.adapters.lake.catalog import events_table
from raypipe.adapters.lake.decisions import Decisions
from raypipe.adapters.lake.store import Store
from raypipe.config import load
from raypipe.contracts.backfill import Backfill, Days
from raypipe.contracts.contract import TIMESTAMP
from raypipe.contracts.halt import Resolution
from raypipe.contracts.rows import RawRows
from raypipe.environment import StoreAddress

CONTRACT = """
apiVersion: v3.0.2
kind: DataContract
id: trips
version: 1.0.0
status: active
schema:
  - name: trips
    logicalType: object
    customProperties: [{property: eventAt, value: at}]
    properties:
      - {name: trip, logicalType: string, required: true, primaryKey: true, primaryKeyPosition: 1}
      - {name: at, logicalType: timestamp, required: true}
      - {name: minutes, logicalType: number, logicalTypeOptions: {minimum: 0}}
"""
PIPELINE = """
name: trips
sources:
  trips: {contract: trips.odcs.yaml, feeds: [{kind: objects, uri: LANDING, format: jsonl}], halt_when: {dead_letter_rate: 0.5}}
features: {spine: trips, prediction_time: at, request: [minutes]}
label: {name: long, source: trips, from: minutes > 30, matures_within: 1d}
training: {model: {kind: tabular_mlp}}
validation: {absolute: {auc: ">= 0.6"}}
"""


class World:
    """A directory that is landing zone and lake."""

    def __init__(self, root):
        self.root, self.landing = root, root / "landing"
        self.landing.mkdir()
        (root / "trips.odcs.yaml").write_text(CONTRACT)
        (root / "pipeline.yaml").write_text(PIPELINE.replace("LANDING", str(self.landing)))
        self.store = Store(StoreAddress(lake=str(root / "lake")))

    @property
    def pipeline(self):
        return load(self.root / "pipeline.yaml")

    @property
    def table(self):
        return events_table(self.store, "trips", self.pipeline.contracts["trips"])

    def land(self, name, *rows):
        lines = [
            r if isinstance(r, str) else json.dumps({"trip": r[0], "at": f"2020-01-0{r[1]}T00:00:00Z", "minutes": r[2]})
            for r in rows
        ]
        (self.landing / name).write_text("\n".join(lines))

    def rule(self, *stated):
        (self.root / "trips.odcs.yaml").write_text(
            CONTRACT.replace("    properties:", f"    quality: [{', '.join(stated)}]\n    properties:")
        )

    def ingest(self, resolution=None):
        return RayIngestor(self.store, lambda: datetime.now(UTC)).ingest(self.pipeline, resolution)["trips"]

    def backfill(self, days, *rows, reason="the source corrected them"):
        corrected = self.root / "corrected"
        corrected.mkdir(exist_ok=True)
        landing, self.landing = self.landing, corrected
        self.land("fixed", *rows)
        self.landing = landing
        asked = Backfill("trips", Days.parse(days), str(corrected), "ann", reason)
        return RayIngestor(self.store, lambda: datetime.now(UTC)).backfill(self.pipeline, asked)["trips"]

    def resolve(self, generation, *, accept):
        return self.ingest(Resolution("trips", generation, accept, "ann", "looked at it"))

    def stream(self, *rows, turn=None):
        """Commit rows as a stream would, under its own application id."""
        at = [datetime(2020, 1, day, tzinfo=UTC) for _, day, _ in rows]
        plain = pa.table(
            {"trip": [r[0] for r in rows], "at": pa.array(at, TIMESTAMP), "minutes": [float(r[2]) for r in rows]}
        )
        contract = self.pipeline.contracts["trips"]
        arrival = Arrival("trips", contract, self.table.generation("stream/trips") + 1, datetime.now(UTC))
        ready = split(RawRows.of(plain), arrival, numbered("kafka://trips/0"))
        days = sorted(set(ready.accepted["event_date"].to_pylist()))
        files = [
            self.table.write(
                ready.accepted.filter(pc.equal(ready.accepted["event_date"], d)),
                (("event_date", str(d)),),
                streamed=True,
            )
            for d in days
        ]
        self.table.commit(files, app_id="stream/trips", generation=arrival.generation, turn=self.table.turn())

    def counts(self, found=None):
        e = (found or self.ingest()).evidence
        return e.rows, e.accepted, e.dead_letters, e.duplicates

    def trips(self):
        rows = self.table.read(["trip", "minutes"]).sort_by("trip").to_pylist()
        return [(r["trip"], r["minutes"]) for r in rows]

    def decisions(self):
        return [d.what for d in Decisions(self.store).stream("ingest/trips")]
