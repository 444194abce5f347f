"""What a stream tells Prometheus. Knows names and numbers; does not know where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from raypipe.contracts.gate import GateEvidence

_SECONDS = (0.1, 0.25, 0.5, 1, 1.5, 2, 3, 5, 10, 30, 60, 300, 1800)
_ROWS = (1, 10, 100, 1_000, 5_000, 10_000, 25_000, 50_000, 100_000)


class StreamMetrics:
    """The metrics of one stream, in a registry of their own."""

    def __init__(self, source: str) -> None:
        self.registry = CollectorRegistry()
        self._source = source
        self._lag = self._gauge("lag", "Messages (Kafka) or milliseconds (Kinesis) behind the end", "partition")
        self._newest = self._gauge("newest_event_timestamp_seconds", "event_at of the newest event committed")
        self._freshness = self._gauge("freshness_seconds", "Age of the newest event committed, when it was committed")
        self._index = self._gauge("index_events", "Event ids in memory, 16 bytes each")
        self._messages = self._counter("messages", "Messages committed, by what became of them", "class")
        self._reasons = self._counter("dead_letters_by_reason", "Reasons for which messages were refused", "reason")
        self._retries = self._counter("retries", "Attempts that failed because a store or broker did not answer")
        self._compacted = self._counter("compacted_files", "Small files that were merged")
        self._commit_s = self._histogram("commit_seconds", "Writing and committing a batch", _SECONDS)
        self._batch = self._histogram("batch_messages", "Messages of a batch", _ROWS)
        self._visible = self._histogram("visible_seconds", "From a message's production to its commit", _SECONDS)

    def serve(self, port: int, host: str) -> int:
        """Answer at `/metrics`, and return the port (that which the kernel chose, for 0)."""
        server, _ = start_http_server(port, host, self.registry)
        return int(server.server_port)

    def committed(
        self,
        counts: GateEvidence,
        produced_ms: npt.NDArray[np.int64],
        at: datetime,
        commit_s: float,
        newest: datetime | None,
    ) -> None:
        """Count a batch that is visible since `at`.

        Parameters
        ----------
        newest
            The newest `event_at` in it.
        """
        for name, number in (
            ("accepted", counts.accepted),
            ("dead_letter", counts.dead_letters),
            ("duplicate", counts.duplicates),
        ):
            self._messages.labels(self._source, name).inc(number)
        for reason, number in counts.by_reason:
            self._reasons.labels(self._source, reason).inc(number)
        self._commit_s.labels(self._source).observe(commit_s)
        self._batch.labels(self._source).observe(counts.rows)
        if newest is not None:
            self._newest.labels(self._source).set(newest.timestamp())
            self._freshness.labels(self._source).set((at - newest).total_seconds())
        self._observe_visible(at.timestamp() - produced_ms[produced_ms >= 0] / 1000)

    def stands(self, lag: Mapping[str, int], index_events: int) -> None:
        """Say how far behind each partition is, and how large the index is."""
        for partition, behind in lag.items():
            self._lag.labels(self._source, partition).set(behind)
        self._index.labels(self._source).set(index_events)

    def retried(self) -> None:
        """Count an attempt that failed."""
        self._retries.labels(self._source).inc()

    def compacted(self, files: int) -> None:
        """Count files that were merged."""
        self._compacted.labels(self._source).inc(files)

    def _observe_visible(self, seconds: npt.NDArray[np.float64]) -> None:
        # At most a thousand of a batch: a histogram's call costs a microsecond, and a batch has tens of thousands.
        step = max(1, len(seconds) // 1_000)
        child = self._visible.labels(self._source)
        for value in seconds[::step]:
            child.observe(max(0.0, float(value)))

    def _gauge(self, name: str, said: str, *labels: str) -> Any:
        return Gauge(f"raypipe_stream_{name}", said, ("source", *labels), registry=self.registry)

    def _counter(self, name: str, said: str, *labels: str) -> Any:
        return Counter(f"raypipe_stream_{name}", said, ("source", *labels), registry=self.registry)

    def _histogram(self, name: str, said: str, buckets: tuple[float, ...]) -> Any:
        return Histogram(f"raypipe_stream_{name}", said, ("source",), registry=self.registry, buckets=buckets)
