"""A lake with one source whose contract has a retention, and days that pass for its files, for tests of upkeep."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
from bundles import make

from raypipe.adapters.lake.bundles import LakeBundles
from raypipe.adapters.lake.catalog import DEAD_LETTERS, dead_letters_table, events_table
from raypipe.adapters.lake.decisions import Decisions
from raypipe.adapters.lake.store import Store
from raypipe.adapters.upkeep import Upkeep
from raypipe.contracts.contract import TIMESTAMP, Contract, Field
from raypipe.contracts.retention import Retention
from raypipe.decision import verify
from raypipe.environment import StoreAddress
from raypipe.ports import ModelVersion

FIELDS = (Field("ride", pa.string(), required=True), Field("at", TIMESTAMP, required=True))
RIDES = Contract("rides", "1.2.0", FIELDS, ("ride",), "at", retention=Retention("60 d", length=timedelta(days=60)))
START = datetime(2020, 3, 1, 12, tzinfo=UTC)
KEEP = timedelta(days=30)


_bundle = cache(make)


class Models:
    """A registry of versions whose bundles are in the lake, unless they were lost."""

    def __init__(self):
        self.registered = []

    def versions(self):
        return tuple(self.registered)


class Lake:
    """Tables in a directory, and a clock; what was written since the last look is of the clock's time."""

    def __init__(self, root, contract=RIDES):
        self.root, self.contract, self.now = Path(root), contract, START
        self.store = Store(StoreAddress(lake=str(root)))
        self.events = events_table(self.store, "rides", contract)
        self.letters = dead_letters_table(self.store)
        self.models = Models()
        self.pipeline = SimpleNamespace(
            spec=SimpleNamespace(name="rides", sources={"rides": None}), contracts={"rides": contract}
        )
        self._rides = 0
        self._stamped = set()

    def stamp(self):
        """Let everything that is new be as old as the clock says."""
        for path in self.root.rglob("*"):
            if path.is_file() and path not in self._stamped:
                os.utime(path, (self.now.timestamp(), self.now.timestamp()))
                self._stamped.add(path)

    def pass_days(self, days):
        self.stamp()
        self.now += timedelta(days=days)

    def event_rows(self, count, day):
        first, self._rides = self._rides, self._rides + count
        names = [f"r{n}" for n in range(first, first + count)]
        at = datetime(day.year, day.month, day.day, 10, tzinfo=UTC)
        return pa.table(
            {
                "ride": names,
                "at": [at] * count,
                "event_id": names,
                "event_at": [at] * count,
                "known_at": [self.now] * count,
                "source_position": [f"o#{n}" for n in names],
                "contract_version": ["1.2.0"] * count,
                "generation": [1] * count,
                "event_date": [day] * count,
            },
            schema=self.events.schema,
        )

    def add(self, count=1, day=None, streamed=False):
        """Commit one file of new events of a day, today's by default."""
        day = day or self.now.date()
        file = self.events.write(self.event_rows(count, day), (("event_date", str(day)),), streamed=streamed)
        number = self.events.generation("writer") + 1
        self.events.commit([file], app_id="writer", generation=number, turn=self.events.turn())

    def refuse(self, count=1, source="rides"):
        """Commit one file of dead letters that are refused now."""
        first, self._rides = self._rides, self._rides + count
        rows = [
            {"letter_id": f"l{n}", "source": source, "raw": "{}", "types": "", "reasons": ["range(x)"]}
            | {"source_position": f"o#{n}", "contract_version": "1", "generation": 1, "known_at": self.now}
            for n in range(first, first + count)
        ]
        number = self.letters.generation("writer") + 1
        self.letters.append(pa.Table.from_pylist(rows, schema=DEAD_LETTERS), app_id="writer", generation=number)

    def register(self, table, version):
        """Register a model that was made from this version of a table."""
        bundle = _bundle()
        snapshot = replace(table.snapshot(version), version=version)
        digest = LakeBundles(self.store).put(
            replace(bundle, lineage=replace(bundle.lineage, snapshots=(snapshot,), seed=len(self.models.registered)))
        )
        self.models.registered.append(ModelVersion("rides", str(len(self.models.registered) + 1), digest))
        return digest

    def upkeep(self, *, dry_run=False, keep=KEEP):
        """Return (step, table, rows, files) of what was done."""
        found = Upkeep(self.store, lambda: self.models, lambda: self.now).run(
            self.pipeline, keep, who="ann", dry_run=dry_run
        )
        done = [(str(u.step), u.table, u.rows, u.files) for u in found]
        self.stamp()
        return done

    def data(self, table):
        """Return the data files that the store has below a table."""
        return {str(p) for p in Path(table.uri).rglob("*.parquet") if "_delta_log" not in p.parts}

    def decisions(self, stream):
        found = Decisions(self.store).stream(stream)
        verify(found)
        return found


def ids(table, version=None):
    name = table.schema.names[0]
    return sorted(table.read([name], version=version)[name].to_pylist())


def day(number):
    return date(2020, 1, 1) + timedelta(days=number - 1)
