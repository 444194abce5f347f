"""A source's messages become rows of the lake, batch by batch, without an end.

    gather ──▶ decode, check ──gate──▶ halt? ──▶ dead letters ──▶ events + positions ──▶ gather
    feed_*.py  stream_batch.py   contracts/recent.py     stream_tables.py

A batch is what arrived since the last commit, at most for `TARGET_S`: small when nothing waits, large when much does.
Nothing more is read than what the next commit takes, so memory is bounded by one batch, what the client fetched ahead,
and the index. A store or broker that is away is waited for. Does not know brokers, nor how tables are kept.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from threading import Event
from typing import TypeVar

import pyarrow.compute as pc

from raypipe.adapters.feed import Feed, Messages
from raypipe.adapters.ingest_split import Arrival
from raypipe.adapters.stream_batch import Batch, read_batch
from raypipe.adapters.stream_metrics import StreamMetrics
from raypipe.adapters.stream_record import StreamRecord
from raypipe.adapters.stream_tables import StreamTables
from raypipe.contracts.contract import Contract
from raypipe.contracts.gate import GateEvidence
from raypipe.contracts.halt import Resolution
from raypipe.contracts.recent import Recent, judge_recent
from raypipe.contracts.source import SourceSpec
from raypipe.errors import Unavailable
from raypipe.telemetry import event
from raypipe.verdict import Verdict

TARGET_S = 1.0
"""Between two commits, when they can keep up."""

MOST_ROWS = 50_000
MOST_BYTES = 64_000_000

_POLL_S = 0.1
_SAY_S = 5.0
_COMPACT_COMMITS = 60
_PATIENCE_S = 30.0  # the longest wait between two attempts
_ATTEMPTS_ONCE = 6  # with --once: about half a minute

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Until:
    """When a stream ends by itself.

    Parameters
    ----------
    caught_up
        When everything that had arrived is committed.
    deadline
        At this monotonic time; None means never.
    """

    caught_up: bool = False
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Streamed:
    """What a stream came to: the counts of what it committed, and the verdict that halted it, if one did."""

    counts: GateEvidence
    halted: Verdict | None = None


class SourceStream:
    """The stream of one source.

    Parameters
    ----------
    stop
        Set by a signal: the batch at hand is committed, then the stream ends.
    """

    def __init__(
        self,
        source: str,
        spec: SourceSpec,
        contract: Contract,
        feeds: Sequence[Feed],
        tables: StreamTables,
        record: StreamRecord,
        metrics: StreamMetrics,
        clock: Callable[[], datetime],
        stop: Event,
    ) -> None:
        self._source, self._spec, self._contract = source, spec, contract
        self._feeds, self._tables, self._record = feeds, tables, record
        self._metrics, self._clock, self._stop = metrics, clock, stop
        self._counts, self._said = GateEvidence(), GateEvidence()
        self._recent: Recent = ()
        self._let_in = 0
        self._commits = 0
        self._began_at = self._said_at = self._measured_at = time.monotonic()

    def run(self, until: Until, resolution: Resolution | None = None) -> Streamed:
        """Return what the stream came to, after it was stopped, halted, or is where `until` says.

        Raises
        ------
        GenerationMoved
            When another stream of this source committed.
        Unavailable, AccessDenied
            When a store or broker is away and the stream ends anyway, or refuses us; nothing is lost.
        """
        self._patiently(lambda: self._open(resolution), until)
        halted = None
        while not self._ends(until):
            batch = self._gathered(until)
            if batch is None:
                self._say_at_times()
                continue
            if halted := self._judged(batch):
                self._patiently(lambda b=batch, h=halted: self._record.halted(self._next, b.split.evidence, h), until)  # type: ignore[misc]
                break
            self._commit(batch, until)
        self._say("ended" if halted is None else "halted")
        return Streamed(self._counts, halted)

    def close(self) -> None:
        """Let go of every feed, and of the tables."""
        for feed in self._feeds:
            feed.close()
        self._tables.close()

    def _open(self, resolution: Resolution | None) -> None:
        names = [name for feed in self._feeds for name in feed.names()]
        positions = self._tables.open(names)
        self._let_in = self._record.let_in(self._next, resolution)
        for feed in self._feeds:
            feed.seek({name: positions[name] for name in feed.names() if name in positions})
        event(
            "stream",
            f"{self._source}: goes on after generation {self._tables.generation}, "
            f"{len(names)} partitions of {', '.join(f.name for f in self._feeds)}",
        )

    def _ends(self, until: Until) -> bool:
        if self._stop.is_set() or (until.deadline is not None and time.monotonic() >= until.deadline):
            return True
        return until.caught_up and self._caught_up

    @property
    def _next(self) -> int:
        return self._tables.generation + 1

    @property
    def _caught_up(self) -> bool:
        return all(feed.exhausted for feed in self._feeds)

    def _gathered(self, until: Until) -> Batch | None:
        """Return what arrives until the next commit is due, or much has; None where nothing did."""
        due = max(self._began_at + TARGET_S, time.monotonic() + _POLL_S)
        read: dict[int, list[Messages]] = {}
        rows = size = 0
        while not (rows and time.monotonic() >= due):
            polled = self._poll(read, min(MOST_ROWS - rows, 10_000), until)
            rows += sum(len(m.values) for m in polled)
            size += sum(m.size_bytes for m in polled)
            idle = not any(len(m.values) for m in polled)
            if idle:
                self._say_at_times()  # what was committed last, though nothing comes after it
            if rows >= MOST_ROWS or size >= MOST_BYTES or (idle and self._ends(until)):
                break
            if self._stop.is_set():
                break
        self._began_at = time.monotonic()
        if not rows:
            return None
        arrival = Arrival(self._source, self._contract, self._next, self._clock())
        return read_batch([(self._feeds[i].codec, Messages.joined(m)) for i, m in read.items()], arrival)

    def _poll(self, read: dict[int, list[Messages]], most: int, until: Until) -> list[Messages]:
        polled = []
        for number, feed in enumerate(self._feeds):
            messages = self._patiently(lambda f=feed: f.poll(most, _POLL_S / len(self._feeds)), until)  # type: ignore[misc]
            for said in messages.lost:
                self._patiently(lambda s=said: self._record.lost(self._next, s), until)  # type: ignore[misc]
            if len(messages.values):
                read.setdefault(number, []).append(messages)
            polled.append(messages)
        return polled

    def _judged(self, batch: Batch) -> Verdict | None:
        """Return why the stream halts before this batch; None where it goes on."""
        if self._let_in > 0:
            self._let_in -= batch.messages
            return None
        verdict, self._recent = judge_recent(self._recent, batch.split.evidence, self._spec.halt_when, self._source)
        return None if verdict.lets_pass else verdict

    def _commit(self, batch: Batch, until: Until) -> None:
        began = time.monotonic()
        counts = self._patiently(lambda: self._tables.commit(batch), until)
        self._counts = self._counts.merge(counts)
        events = batch.split.accepted
        newest = pc.max(events["event_at"]).as_py() if counts.accepted else None
        self._metrics.committed(counts, batch.produced_ms, self._clock(), time.monotonic() - began, newest)
        self._commits += 1
        if self._tables.merging or self._commits % _COMPACT_COMMITS == 0:
            self._metrics.compacted(self._patiently(self._tables.compact, until))
        self._say_at_times()

    def _say_at_times(self) -> None:
        """Say how far it is, after the first commit and then every few seconds in which there was one."""
        if time.monotonic() - self._measured_at >= _SAY_S:
            self._measure()
        if self._counts is not self._said and (self._commits == 1 or time.monotonic() - self._said_at >= _SAY_S):
            self._say("reads")

    def _say(self, what: str) -> None:
        lag = self._measure()
        seconds = max(1e-3, time.monotonic() - self._said_at)
        new = self._counts.rows - self._said.rows
        c = self._counts
        event(
            "stream",
            f"{self._source}: {what}, generation {self._tables.generation}, {new / seconds:,.0f} messages/s, "
            f"{c.rows:,} = {c.accepted:,} accepted + {c.dead_letters:,} dead letters + {c.duplicates:,} duplicates, "
            f"{sum(lag.values()):,} behind",
            source=self._source,
            generation=self._tables.generation,
            rows=c.rows,
            accepted=c.accepted,
            dead_letters=c.dead_letters,
            duplicates=c.duplicates,
            lag=lag,
        )
        self._said_at, self._said = time.monotonic(), c

    def _measure(self) -> Mapping[str, int]:
        lag = {partition: n for feed in self._feeds for partition, n in feed.lag().items()}
        self._metrics.stands(lag, len(self._tables.index))
        self._measured_at = time.monotonic()
        return lag

    def _patiently(self, action: Callable[[], T], until: Until) -> T:
        """Return what the action returns, however long what it needs is away."""
        wait = 0.5
        for attempt in range(1, 1_000_000):
            try:
                return action()
            except Unavailable as error:
                self._metrics.retried()
                if self._stop.is_set() or (until.caught_up and attempt >= _ATTEMPTS_ONCE):
                    raise
                pause = wait * random.uniform(0.5, 1.0)
                event("stream", f"{self._source}: {error.message}; attempt {attempt + 1} in {pause:.1f} s")
                self._stop.wait(pause)
                wait = min(_PATIENCE_S, wait * 2)
        raise AssertionError("a year of attempts")
