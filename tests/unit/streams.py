"""A source of messages that are made here, and the tables that they go to, in a directory."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from threading import Event

import numpy as np
import pyarrow as pa

from raypipe.adapters.feed import Messages
from raypipe.adapters.ingest_split import Arrival
from raypipe.adapters.lake.catalog import dead_letters_table, events_table
from raypipe.adapters.lake.decisions import Decisions
from raypipe.adapters.lake.store import Store
from raypipe.adapters.stream_batch import read_batch
from raypipe.adapters.stream_loop import SourceStream
from raypipe.adapters.stream_metrics import StreamMetrics
from raypipe.adapters.stream_record import StreamRecord
from raypipe.adapters.stream_tables import StreamTables
from raypipe.contracts.contract import TIMESTAMP, Contract, Field
from raypipe.contracts.messages import Codec, JsonRows
from raypipe.contracts.source import SourceSpec
from raypipe.environment import StoreAddress

NOW = datetime(2020, 1, 2, tzinfo=UTC)
FIELDS = (Field("ride", pa.string(), required=True), Field("at", TIMESTAMP, required=True))
RIDES = Contract("rides", "1", FIELDS, ("ride",), "at")
SPEC = SourceSpec.model_validate(
    {"contract": "rides.odcs.yaml", "feeds": [{"kind": "kafka", "topic": "rides", "format": "json"}]}
)


def ride(number, day=1):
    return json.dumps({"ride": f"r{number}", "at": f"2020-01-{day:02d}T10:00:00Z"}).encode()


class ListFeed:
    """Fulfils `Feed` with messages of one partition that are all there."""

    name = "list://rides"
    codec = Codec(JsonRows())

    def __init__(self, values, most=1_000, partition=0):
        self.values, self.most = list(values), most
        self.partition, self.next = partition, 0
        self.failures: list[Exception] = []

    def names(self):
        return [f"stream/rides/rides/{self.partition}"]

    def seek(self, positions):
        self.next = positions[self.names()[0]]

    def poll(self, most, wait_s):
        if self.failures:
            raise self.failures.pop(0)
        begin, end = self.next, min(self.next + min(most, self.most), len(self.values))
        self.next = end
        if begin == end:
            return Messages()
        places = pa.array([f"{self.name}/{self.partition}#{n}" for n in range(begin, end)], pa.string())
        when = np.full(end - begin, int(NOW.timestamp() * 1000), np.int64)
        return Messages(self.values[begin:end], places, when, {self.names()[0]: end})

    @property
    def exhausted(self):
        return self.next >= len(self.values)

    def lag(self):
        return {"rides/0": len(self.values) - self.next}

    def close(self):
        pass


class Place:
    """A lake in a directory, and streams of its source `rides`."""

    def __init__(self, root, contract=RIDES, spec=SPEC):
        self.store = Store(StoreAddress(lake=str(root)))
        self.contract, self.spec = contract, spec

    def tables(self, who="one"):
        return StreamTables(self.store, "rides", self.spec, self.contract, who)

    def stream(self, feed, who="one", stop=None):
        return self.measured(feed, StreamMetrics("rides"), who, stop)

    def measured(self, feed, metrics, who="one", stop=None):
        record = StreamRecord(Decisions(self.store), "rides", self.contract.digest, lambda: NOW, who)
        parts = (self.tables(who), record, metrics, lambda: NOW, stop or Event())
        return SourceStream("rides", self.spec, self.contract, [feed], *parts)

    def batch(self, feed, generation, most=1_000):
        return read_batch([(feed.codec, feed.poll(most, 0.0))], Arrival("rides", self.contract, generation, NOW))

    @property
    def events(self):
        return events_table(self.store, "rides", self.contract)

    @property
    def letters(self):
        return dead_letters_table(self.store)

    def ids(self):
        return sorted(self.events.read(["event_id"])["event_id"].to_pylist())

    def letter_places(self):
        return sorted(self.letters.read(["source_position"])["source_position"].to_pylist())
