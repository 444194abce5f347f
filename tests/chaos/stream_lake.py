"""A lake whose `orders` come from a topic too: what is sent to it, how it is streamed, and how it is judged."""

from __future__ import annotations

from collections.abc import Sequence

import checker
import stream_checker
from broker import PARTITIONS
from lake import Lake
from messages import Messages, Sends
from place import Driver, End, Place
from seen import Seen
from stream_checker import Topic

SOURCE = "orders"
BATCH = 20
"""Messages of a stream's batch, at most."""
MERGED = 3
"""Commits of a stream after which it merges files, and how many files of a date there must be."""
ENVIRONMENT = """
storage: {{kind: s3, lake: '{lake}', endpoint: 'http://127.0.0.1:{port}', access_key: {{file: {access}}}, secret_key: {{file: {secret}}}}}
registry: {{kind: mlflow, uri: 'sqlite:///none.db'}}
ray: {{kind: cluster, address: none, dashboard: none}}
kafka: {{kind: kafka, brokers: '{brokers}'}}
"""


class StreamLake(Lake):
    """A pipeline, its landing zone with an object in it, its topic, their ledgers, and its tables."""

    sources = (SOURCE,)

    def __init__(self, place: Place, name: str, seed: int) -> None:
        super().__init__(place, name, seed)
        store = place.store.where.store
        assert store.access_key
        assert store.secret_key
        self._environment = self.root / "env.yaml"
        self._environment.write_text(
            ENVIRONMENT.format(
                lake=f"{store.lake}/{name}",
                port=place.proxy.port,
                access=store.access_key.file,
                secret=store.secret_key.file,
                brokers=place.broker.address,
            )
        )
        self.producer.land_object(SOURCE, "jsonl")
        place.broker.create(name)
        self.sends = Sends(self.root / "sends.jsonl")
        self.messages = Messages(seed, self.producer, SOURCE, place.broker, name, self.sends)

    def _feeds(self, source: str) -> str:
        topic = f"      - {{kind: kafka, topic: {self.name}, format: json}}"
        return "\n".join([super()._feeds(source), *([topic] if source == SOURCE else [])])

    def begin_stream(self, driver: Driver, *, once: bool = True, breaks: Sequence[str] = (), stop_at: str = "") -> None:
        """Begin a stream, which ends when it is at the end of the topic, or when it is told to."""
        arguments = ["stream", str(self._pipeline), "--env", str(self._environment), *(["--once"] if once else [])]
        variables = {"RAYPIPE_BOUNDARIES": str(self.boundaries), "RAYPIPE_STOP_AT": stop_at}
        # Files are merged beside the commits; who wants a merge for certain waits for it.
        pace = {"batch": BATCH, "merged": MERGED, "waits": "compact/" in stop_at or bool(breaks)}
        driver.begin({"arguments": arguments, "pace": pace, "breaks": breaks, "variables": variables})

    def stream(self, *, breaks: Sequence[str] = (), stop_at: str = "") -> End:
        """Return how one stream to the end of the topic ended."""
        self.begin_stream(self._place.drivers[0], breaks=breaks, stop_at=stop_at)
        return self._place.drivers[0].end()

    def judge(self, breaks: tuple[str, ...] = (), runs: int = 8) -> tuple[list[str], Seen]:
        """Return what is wrong once everything is ingested and streamed, by so many runs of each at most."""
        wrong = [f"after {runs} runs that nobody disturbed there still is something to do"]
        again = self.see()
        for _ in range(runs):
            seen = again
            self.boundaries.unlink(missing_ok=True)
            ends = [self.stream(breaks=breaks), self.ingest(breaks=breaks)]
            again = self.see()
            if all(end.code == 0 for end in ends) and not self.boundaries.exists():
                wrong = []
                break
        wrong += checker.check(self.ledger.read(), seen, again)
        logs = {table: self.log(table) for table in (f"events/{SOURCE}", "dead_letters")}
        topic = Topic(SOURCE, self.name, PARTITIONS, self.sends.read(), self._place.broker.kept(self.name))
        return wrong + stream_checker.check(topic, again, logs), again
