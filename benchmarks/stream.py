"""Events a second of a stream with every gate on, and how old an event is when it can be read.

    make bench NAME=stream            # or: python -m benchmarks.stream --seconds 15 --rates 2000 10000
    python -m benchmarks.stream --seconds 600 --rates 10000      # sustained for ten minutes

A broker, a store, a load generator and `raypipe stream` share this machine. JSON rides (8 columns) with doubles and
broken ones in known numbers are sent at each rate in turn; an observer sees each commit appear in the table's log.
Freshness is from the time in the event, when it was sent, to the moment its commit was seen. Where the stream falls
behind, freshness grows and nothing else does: it then drains what waits, and every count must be right.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from rich.table import Table

from benchmarks.bench import Figures, measure, show, write
from benchmarks.embedded import embedded
from raypipe.adapters.lake.store import Store

TOPIC, PARTITIONS = "rides", 4
DOUBLE_OF, BROKEN_OF = 500, 300  # one of so many
FRESH_S = 5.0
TARGET_PER_S = 10_000
SUSTAINED_S = 600.0
_PART_S = 30.0
RATES = (2_000, 5_000, 10_000, 20_000, 40_000)
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
      - {name: ride, logicalType: string, required: true, primaryKey: true, logicalTypeOptions: {minLength: 12}}
      - {name: at, logicalType: timestamp, required: true, logicalTypeOptions: {minimum: 2020-01-01T00:00:00Z}}
      - {name: city, logicalType: string, required: true, enum: [{value: lima}, {value: oslo}, {value: kyiv}]}
      - {name: plate, logicalType: string, required: true, logicalTypeOptions: {pattern: "^[A-Z]{2}[0-9]{4}$"}}
      - {name: distance_km, logicalType: number, required: true, logicalTypeOptions: {minimum: 0, maximum: 500}}
      - {name: fare, logicalType: number, required: true, logicalTypeOptions: {minimum: 0}}
      - {name: passengers, logicalType: integer, required: true, logicalTypeOptions: {minimum: 1, maximum: 8}}
      - {name: rating, logicalType: number, logicalTypeOptions: {minimum: 1, maximum: 5}}
"""
PIPELINE = """
name: rides
sources: {rides: {contract: rides.odcs.yaml, feeds: [{kind: kafka, topic: rides, format: json}]}}
features: {spine: rides, prediction_time: at, request: [distance_km]}
label: {name: dear, source: rides, from: fare > 30, matures_within: 1d}
training: {model: {kind: tabular_mlp}}
validation: {absolute: {auc: ">= 0.6"}}
"""


@dataclass(frozen=True, slots=True)
class Place:
    """A broker and a store that run, and the files that say so."""

    root: Path
    brokers: str
    store: Store


@contextmanager
def prepared() -> Iterator[Place]:
    """Yield a place with a topic; everything that was started is ended."""
    with tempfile.TemporaryDirectory() as directory, embedded(Path(directory), "kafka") as where:
        root = Path(directory)
        (root / "rides.odcs.yaml").write_text(CONTRACT)
        (root / "pipeline.yaml").write_text(PIPELINE)
        assert where.kafka is not None
        brokers = where.kafka.brokers
        admin = AdminClient({"bootstrap.servers": brokers, "log_level": 0})
        admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(30)
        yield Place(root, brokers, Store(where.store))


def send(brokers: str, first: int, rate: int, seconds: float, linger_ms: int) -> None:
    """Send rides `first`, `first + 1`, ... at a steady rate, waiting for a batch; runs in a process of its own."""
    bounds = {"linger.ms": linger_ms, "batch.num.messages": 100_000, "queue.buffering.max.messages": 1_000_000}
    producer = Producer({"bootstrap.servers": brokers, **bounds})
    began, sent, total = time.time(), 0, int(rate * seconds)
    while sent < total:
        due = min(total, int((time.time() - began) * rate))
        if due == sent:
            time.sleep(0.005)
        now = time.time()
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e6):06d}Z"
        for number in range(first + sent, first + due):
            producer.produce(TOPIC, ride(number, at), partition=number % PARTITIONS)
        sent = due
        producer.poll(0)
    if producer.flush(60):
        raise SystemExit("the broker did not take every message")


def ride(number: int, at: str) -> str:
    """Return one message."""
    if number % BROKEN_OF == 7:
        return '{"ride": "broken'
    name = number - 50 * PARTITIONS if number % DOUBLE_OF == 11 and number > 50 * PARTITIONS else number
    return (
        f'{{"ride": "{name:012x}", "at": "{at}", "city": "lima", "plate": "AB{number % 10_000:04d}", '
        f'"distance_km": {number % 499 + 0.25}, "fare": {number % 97 + 0.5}, "passengers": {number % 8 + 1}, '
        f'"rating": {number % 4 + 1}}}'
    )


class Observer(threading.Thread):
    """Sees each version of the table's log appear, and which files it brings."""

    def __init__(self, store: Store) -> None:
        super().__init__(daemon=True)
        self._root = store.lake("events", TOPIC)
        self._store, self._version, self._ended = store, 0, threading.Event()
        self.seen: list[tuple[float, str]] = []
        self.commits: list[float] = []
        self.rows = 0

    def run(self) -> None:
        """Look every 20 ms."""
        while not self._ended.wait(0.02):
            uri = f"{self._root}/_delta_log/{self._version:020d}.json"
            while self._store.exists(uri):
                self._take(time.time(), self._store.read(uri))
                self._version += 1
                uri = f"{self._root}/_delta_log/{self._version:020d}.json"

    def _take(self, at: float, log: bytes) -> None:
        added = [json.loads(line)["add"] for line in log.splitlines() if b'"add"' in line[:8]]
        for add in added:
            if add["dataChange"]:
                self.seen.append((at, f"{self._root}/{add['path']}"))
                self.rows += json.loads(add["stats"])["numRecords"]
        if b'"stream/rides"' in log:
            self.commits.append(at)

    def times(self, since: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return when each event of the files seen from number `since` on was sent, and when it was seen."""
        sent, seen = [], []
        for at, uri in self.seen[since:]:
            sent.append(self._store.read_parquet(uri, ["event_at"])["event_at"].cast("int64").to_numpy() / 1e6)
            seen.append(np.full(len(sent[-1]), at))
        return np.concatenate(sent), np.concatenate(seen)

    def end(self) -> None:
        """Look no longer."""
        self._ended.set()
        self.join()


@contextmanager
def streaming(place: Place) -> Iterator[subprocess.Popen[bytes]]:
    """Yield `raypipe stream` as a process; it must end with 0 when it is told to."""
    command = [sys.executable, "-m", "raypipe", "stream", str(place.root / "pipeline.yaml")]
    with (place.root / "stream.log").open("wb") as log:
        child = subprocess.Popen(
            [*command, "--env", str(place.root / "env.yaml")],
            env={**os.environ, "RAYPIPE_HOME": str(place.root / "home")},
            stdout=log,
            stderr=log,
        )
        try:
            yield child
        finally:
            child.send_signal(signal.SIGTERM)
            code = child.wait(120)
    if code:
        raise SystemExit(f"the stream ended with {code}:\n{(place.root / 'stream.log').read_text()[-3000:]}")


def once(place: Place, rates: Sequence[int], seconds: float) -> Figures:
    """Return the figures of all rates, one after the other on the same growing table."""
    figures: dict[str, float] = {}
    observer = Observer(place.store)
    observer.start()
    first = expected = 0
    # The embedded broker lists a partition's batches at each fetch: 90,000 messages/s of 1,200 batches, 5,000 of 6,000.
    linger_ms = max(100, int(seconds * len(rates)))
    with streaming(place):
        for rate in (1_000, *rates):  # the first is warm-up
            since = len(observer.seen)
            total = int(rate * (seconds if first else 5))
            command = [sys.executable, "-m", "benchmarks.stream", "--send", place.brokers, str(first), str(rate)]
            subprocess.run([*command, str(total / rate), str(linger_ms)], check=True)
            expected += accepted(first, first + total)
            first += total
            deadline = time.time() + 300
            while observer.rows < expected and time.time() < deadline:
                time.sleep(0.05)
            if observer.rows != expected:
                raise SystemExit(f"{observer.rows} events are in the table, {expected} were sent and must be there")
            sent, seen = observer.times(since)
            minutes(sent, seen)
            figures |= {
                f"sent_per_s_at_{rate}": len(sent) / float(sent.max() - sent.min()),
                f"committed_per_s_at_{rate}": len(sent) / float(seen.max() - sent.min()),
                f"p50_s_at_{rate}": float(np.quantile(seen - sent, 0.5)),
                f"p95_s_at_{rate}": float(np.quantile(seen - sent, 0.95)),
            }
    observer.end()
    kept_up = [r for r in rates if figures[f"p95_s_at_{r}"] <= FRESH_S]
    figures["events_per_s"] = max((figures[f"committed_per_s_at_{r}"] for r in kept_up), default=0.0)
    figures["freshness_p95_s"] = figures[f"p95_s_at_{TARGET_PER_S if TARGET_PER_S in rates else rates[-1]}"]
    return figures


def minutes(sent: npt.NDArray[np.float64], seen: npt.NDArray[np.float64]) -> None:
    """Print how old events were when they could be read, by the half minute in which they were sent."""
    part = ((sent - sent.min()) // _PART_S).astype(int)
    for number in np.unique(part) if part.max() else ():
        ages = (seen - sent)[part == number]
        found = f"p50 {np.quantile(ages, 0.5):.2f} s, p95 {np.quantile(ages, 0.95):.2f} s"
        print(f"{len(ages):,} events sent from second {number * _PART_S:.0f} on: {found}", flush=True)


def accepted(begin: int, stop: int) -> int:
    """Return how many events rides `begin` to `stop - 1` bring into the table."""
    return sum(
        n % BROKEN_OF != 7
        and not (n % DOUBLE_OF == 11 and n > 50 * PARTITIONS and (n - 50 * PARTITIONS) % BROKEN_OF != 7)
        for n in range(begin, stop)
    )


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=30.0, help="at each rate; another is not written, unless 600")
    parser.add_argument("--rates", type=int, nargs="+", default=list(RATES), help="events a second")
    parser.add_argument("--send", nargs=5, metavar=("BROKERS", "FIRST", "RATE", "S", "MS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.send:
        brokers, first, rate, seconds, linger_ms = options.send
        send(brokers, int(first), int(rate), float(seconds), int(linger_ms))
        return
    with prepared() as place:
        packages = ["confluent-kafka", "deltalake", "polars", "pyarrow"]
        result = measure(lambda _: once(place, options.rates, options.seconds), rounds=1, packages=packages)
    if options.seconds == parser.get_default("seconds") and options.rates == list(RATES):
        write("stream", result)
    elif options.seconds >= SUSTAINED_S:
        write("stream_sustained", result)
    figures = result.figures
    table = Table("sent/s", "committed/s", "p50 s", "p95 s", title="From the time in the event to its commit")
    for rate in options.rates:
        names = ("sent_per_s", "committed_per_s")
        row = [f"{figures[f'{name}_at_{rate}']:,.0f}" for name in names]
        table.add_row(*row, f"{figures[f'p50_s_at_{rate}']:.2f}", f"{figures[f'p95_s_at_{rate}']:.2f}")
    show("stream", result, [table])
    print(f"events_per_s {figures['events_per_s']:,.0f}   freshness_p95_s {figures['freshness_p95_s']:.2f}")


if __name__ == "__main__":
    main()
