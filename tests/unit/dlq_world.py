"""A directory that is landing zone and lake, for what is tested of dead letters; ingests without a cluster."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path

import fastavro
import polars as pl
import pyarrow.parquet as pq
from in_process import in_process

from raypipe.adapters.dlq import DeadLetterQueue
from raypipe.adapters.ingest_ray import RayIngestor
from raypipe.adapters.lake.catalog import events_table
from raypipe.adapters.lake.decisions import Decisions
from raypipe.adapters.lake.letters import DeadLetters, Selection
from raypipe.adapters.lake.store import Store
from raypipe.config import load
from raypipe.contracts.backfill import Backfill, Days
from raypipe.decision import verify
from raypipe.environment import StoreAddress

CONTRACT = """
apiVersion: v3.0.2
kind: DataContract
id: trips
version: VERSION
status: active
schema:
  - name: trips
    logicalType: object
    customProperties: [{property: eventAt, value: at}]
    properties:
      - {name: trip, logicalType: string, required: true, primaryKey: true, primaryKeyPosition: 1}
      - {name: at, logicalType: timestamp, required: true, logicalTypeOptions: {AT}}
      - {name: minutes, logicalType: number, logicalTypeOptions: {maximum: MAXIMUM}, classification: public}
      - {name: seats, logicalType: integer, logicalTypeOptions: {maximum: MAXIMUM}}
      - {name: day, logicalType: date}
      - {name: shared, logicalType: boolean}
"""
PIPELINE = """
name: trips
sources:
  trips:
    contract: trips.odcs.yaml
    feeds: [{kind: objects, uri: LANDING, format: FORMAT}]
    halt_when: {dead_letter_rate: 1, breaking_change: quarantine}
features: {spine: trips, prediction_time: at, request: [minutes]}
label: {name: long, source: trips, from: minutes > 30, matures_within: 1d}
training: {model: {kind: tabular_mlp}}
validation: {absolute: {auc: ">= 0.6"}}
"""
NAIVE = "format: \"yyyy-MM-dd'T'HH:mm:ss\""
COLUMNS = ("trip", "at", "minutes", "seats", "day", "shared")
AVRO = {
    "trip": "string",
    "at": {"type": "long", "logicalType": "timestamp-micros"},
    "minutes": ["null", "double", "string"],
    "seats": ["null", "long"],
    "day": ["null", {"type": "int", "logicalType": "date"}],
    "shared": ["null", "boolean"],
}


def row(trip, minutes=5.0, day=1, **others):
    at = datetime(2020, 1, day, 6, tzinfo=UTC)
    return {"trip": trip, "at": at, "minutes": minutes, "seats": 2, "day": at.date(), "shared": True} | others


def encoded(rows, format, types=None):
    """Return rows as an object of that format; `types` are Parquet's, by column."""
    texts = [
        {k: v.isoformat().replace("+00:00", "Z") if hasattr(v, "isoformat") else v for k, v in r.items()} for r in rows
    ]
    match format:
        case "jsonl":
            return "\n".join(json.dumps(r) for r in texts).encode()
        case "csv":
            out = io.StringIO()
            writer = csv.DictWriter(out, COLUMNS)
            writer.writeheader()
            plain = [{k: str(v).lower() if isinstance(v, bool) else v for k, v in r.items()} for r in texts]
            writer.writerows(plain)
            return out.getvalue().encode()
        case "avro":
            out = io.BytesIO()
            fields = [{"name": n, "type": t} for n, t in AVRO.items()]
            fastavro.writer(out, {"type": "record", "name": "trip", "fields": fields}, rows)
            return out.getvalue()
        case "parquet":
            frame = pl.DataFrame(rows, schema_overrides={"minutes": pl.Float64, "seats": pl.Int64}, strict=False)
            out = io.BytesIO()
            pq.write_table(frame.cast(types or {}, strict=False).to_arrow(), out)
            return out.getvalue()


class World:
    """One pipeline over one landing directory, and one lake.

    Parameters
    ----------
    lake
        Name of the lake's directory: two worlds of one root may have the same landing zone.
    fresh
        Whether the pipeline and its contract are written anew.
    """

    def __init__(self, root, format="jsonl", lake="lake", *, fresh=True):
        self.root, self.landing, self.format = root, root / "landing", format
        self.landing.mkdir(exist_ok=True)
        self.store = Store(StoreAddress(lake=str(root / lake)))
        self.config = root / "pipeline.yaml"
        if fresh:
            self.config.write_text(PIPELINE.replace("LANDING", str(self.landing)).replace("FORMAT", format))
            self.promise()

    def promise(self, maximum=10, at="", version="1.0.0"):
        text = CONTRACT.replace("MAXIMUM", str(maximum)).replace("{AT}", f"{{{at}}}").replace("VERSION", version)
        (self.root / "trips.odcs.yaml").write_text(text)

    def land(self, name, *rows, types=None):
        (self.landing / name).write_bytes(encoded(rows, self.format, types))

    @property
    def pipeline(self):
        return load(self.config)

    @property
    def table(self):
        return events_table(self.store, "trips", self.pipeline.contracts["trips"])

    @property
    def queue(self):
        return DeadLetterQueue(self.store, now)

    def ingest(self):
        return self._ingestor(lambda ingestor: ingestor.ingest(self.pipeline))

    def backfill(self, days, uri):
        asked = Backfill("trips", Days.parse(days), str(uri), "ann", "it was wrong")
        return self._ingestor(lambda ingestor: ingestor.backfill(self.pipeline, asked))

    def _ingestor(self, run):
        with in_process():
            return run(RayIngestor(self.store, now))["trips"].evidence

    def replay(self, *ids, dry_run=False, **selection):
        (done,) = self.queue.replay(self.pipeline, Selection(ids, **selection), who="ann", dry_run=dry_run)
        return done

    def drop(self, *ids, **selection):
        return self.queue.drop(Selection(ids, **selection), who="bob", why="not worth it")

    def letters(self):
        return DeadLetters(self.store).outlines(Selection())

    def statuses(self):
        return self.letters()["status"].to_list()

    def events(self, *left_out):
        rows = pl.DataFrame(self.table.read()).drop(left_out).sort("event_id", "source_position")
        return rows.to_dicts()

    def trips(self):
        return [(e["trip"], e["minutes"]) for e in self.events()]

    def decisions(self):
        stream = Decisions(self.store).stream("dlq/trips")
        verify(stream)
        return [(d.what, d.who, json.loads(d.evidence)) for d in stream]

    def files(self):
        """Return how many files each table has that a replay may change."""
        return [sum(1 for _ in Path(self.store.lake(t)).rglob("*")) for t in ("events", "letter_fates", "decisions")]


def now():
    return datetime.now(UTC)
