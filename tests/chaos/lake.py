"""One lake of its own: a pipeline of two sources, what is landed for it, and how it is ingested and judged."""

from __future__ import annotations

from pathlib import Path

import checker
from ledger import Ledger
from place import Driver, End, Place
from producer import LONGEST_NOTE, SOURCES, Producer
from seen import Commit, Seen, committed, look

CONTRACT = f"""
apiVersion: v3.0.2
kind: DataContract
id: rows
version: 1.0.0
status: active
schema:
  - name: rows
    logicalType: object
    customProperties: [{{property: eventAt, value: at}}]
    properties:
      - {{name: uuid, logicalType: string, required: true, primaryKey: true}}
      - {{name: at, logicalType: timestamp, required: true}}
      - {{name: sequence, logicalType: integer, required: true}}
      - {{name: amount, logicalType: number, required: true, logicalTypeOptions: {{minimum: 0}}}}
      - {{name: note, logicalType: string, logicalTypeOptions: {{maxLength: {LONGEST_NOTE}}}}}
      - {{name: checksum, logicalType: string, required: true}}
"""
PIPELINE = """
name: chaos
sources:
SOURCES
features: {spine: orders, prediction_time: at, request: [amount]}
label: {name: dear, source: orders, from: amount > 30, matures_within: 1d}
training: {model: {kind: tabular_mlp}}
validation: {absolute: {auc: ">= 0.6"}}
"""
_ENOUGH_RUNS = 8


class Lake:
    """A pipeline, its landing zone, its ledger and its tables."""

    sources: tuple[str, ...] = tuple(SOURCES)

    def __init__(self, place: Place, name: str, seed: int) -> None:
        self._place, self.name = place, name
        self.root: Path = place.root / name
        self.root.mkdir()
        (self.root / "rows.odcs.yaml").write_text(CONTRACT)
        self._pipeline = self.root / "pipeline.yaml"
        self._pipeline.write_text(PIPELINE.replace("SOURCES", "\n".join(self._feeds(s) for s in self.sources)))
        self.ledger = Ledger(self.root / "ledger.jsonl")
        self.producer = Producer(seed, self.ledger, self._put, lambda key: f"s3://landing/{name}/{key}")

    def _feeds(self, source: str) -> str:
        formats = dict.fromkeys(f.split(".")[0] for f in SOURCES[source])
        feeds = [
            f"      - {{kind: objects, uri: 's3://landing/{self.name}/{source}/{f}/', format: {f}}}" for f in formats
        ]
        # Nothing halts: whether a gate holds is not what is asked here.
        head = f"  {source}:\n    contract: rows.odcs.yaml\n    halt_when: {{dead_letter_rate: 1.0}}\n    feeds:"
        return "\n".join([head, *feeds])

    def _put(self, key: str, data: bytes) -> str:
        return self._place.store.put("landing", f"{self.name}/{key}", data)

    def begin(self, driver: Driver, *, cluster: str = "", breaks: tuple[str, ...] = (), stop_at: str = "") -> None:
        """Begin an ingestion; without a cluster its tasks run in the driver."""
        store = self._place.store.where.store
        assert store.access_key
        assert store.secret_key
        driver.begin(
            {
                "store": {
                    "lake": f"{store.lake}/{self.name}",
                    "endpoint": f"http://127.0.0.1:{self._place.proxy.port}",
                    "access_key": store.access_key.file,
                    "secret_key": store.secret_key.file,
                },
                "pipeline": str(self._pipeline),
                "cluster": cluster,
                "breaks": breaks,
                "variables": {"RAYPIPE_BOUNDARIES": str(self.boundaries), "RAYPIPE_STOP_AT": stop_at},
            }
        )

    @property
    def boundaries(self) -> Path:
        return self.root / "boundaries.txt"

    def ingest(self, *, cluster: str = "", breaks: tuple[str, ...] = (), stop_at: str = "") -> End:
        """Return how one ingestion ended."""
        self.begin(self._place.drivers[0], cluster=cluster, breaks=breaks, stop_at=stop_at)
        return self._place.drivers[0].end()

    def _settle(self, breaks: tuple[str, ...], runs: int) -> list[str]:
        """Ingest until a run commits nothing; return why none does, or nothing."""
        end = End(0, False, {})
        for _ in range(runs):
            self.boundaries.unlink(missing_ok=True)
            end = self.ingest(breaks=breaks)
            if end.code == 0 and not self.boundaries.exists():
                return []
        return [f"after {runs} runs that nobody disturbed there still is something to ingest: {end}"]

    def see(self) -> Seen:
        """Return the lake as a plain reader sees it, without the proxy."""
        store = self._place.store
        assert store.where.store.access_key
        assert store.where.store.secret_key
        options = {
            "AWS_REGION": store.where.store.region,
            "AWS_ENDPOINT_URL": str(store.where.store.endpoint),
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": store.where.store.access_key.read(),
            "AWS_SECRET_ACCESS_KEY": store.where.store.secret_key.read(),
        }
        # Some seconds after it was killed the store answers but does not yet find all that it holds.
        return store.insist(
            lambda: look(f"s3://lake/{self.name}", options, list(self.sources), store.listing("lake", f"{self.name}/"))
        )

    def log(self, table: str) -> list[Commit]:
        """Return the commits of a table, oldest first."""
        store, below = self._place.store, f"{self.name}/{table}/_delta_log/"
        names = sorted(path for path, _ in store.listing("lake", below) if path.endswith(".json"))
        return [committed(store.get("lake", below + name)) for name in names]

    def judge(self, breaks: tuple[str, ...] = (), runs: int = _ENOUGH_RUNS) -> tuple[list[str], Seen]:
        """Return what is wrong once everything is ingested, by so many runs at most, and the lake."""
        unsettled = self._settle(breaks, runs)
        seen = self.see()
        self.ingest(breaks=breaks)
        return unsettled + checker.check(self.ledger.read(), seen, self.see()), seen
