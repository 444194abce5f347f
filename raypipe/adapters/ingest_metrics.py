"""What was ingested, refused and halted, as Prometheus metrics that are read from the lake when they are asked for.

A flow that ends cannot be scraped, and its table outlives it: counters are sums over the generations that were
committed, so they never fall. Knows the tables; does not know who scrapes, or which figure is an alert.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from raypipe.adapters.lake.catalog import profiles_table
from raypipe.adapters.lake.decisions import Decisions
from raypipe.adapters.lake.store import Store
from raypipe.contracts.halt import HALT, counts_of

_CLASSES = {"accepted": "accepted", "dead_letters": "dead_letter", "duplicates": "duplicate"}


class IngestMetrics(Collector):
    """Collects the figures of every source of a lake.

    Raises
    ------
    Unavailable, AccessDenied
        From `collect`, when the lake does not answer: a scrape then fails, and no figure is made up.
    """

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self._profiles = profiles_table(store)
        self._decisions = Decisions(store)
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """Yield each metric with its figure for every source."""
        wanted = ["source", "generation", "at", "newest_event_at", "counts"]
        rows = self._profiles.read(wanted).sort_by("generation").to_pylist()
        yield from self._counters(rows)
        newest = {r["source"]: r for r in rows}
        events: dict[str, datetime] = {}
        for row in rows:
            if (at := row["newest_event_at"]) is not None:
                events[row["source"]] = max(at, events.get(row["source"], at))
        now = self._now()
        yield _gauge(
            "generation", "Newest committed generation.", {s: float(r["generation"]) for s, r in newest.items()}
        )
        yield _gauge(
            "last_commit_timestamp_seconds",
            "When the newest committed generation was ingested.",
            {s: r["at"].timestamp() for s, r in newest.items()},
        )
        yield _gauge(
            "freshness_seconds",
            "Age of the newest event in the lake.",
            {s: (now - at).total_seconds() for s, at in events.items()},
        )
        said = self._decisions.newest("ingest/")
        yield _gauge(
            "halted",
            "1 while a generation waits to be let in or skipped.",
            {s: float(d.what == HALT) for s, d in said.items()},
        )

    def _counters(self, rows: list[dict[str, str]]) -> Iterator[Metric]:
        classes: Counter[tuple[str, str]] = Counter()
        reasons: Counter[tuple[str, str]] = Counter()
        warnings: Counter[tuple[str, str]] = Counter()
        for row in rows:
            counts = counts_of(json.loads(row["counts"]))
            source = row["source"]
            classes.update({(source, word): getattr(counts, name) for name, word in _CLASSES.items()})
            reasons.update({(source, reason): n for reason, n in counts.by_reason})
            warnings.update({(source, rule): n for rule, n in counts.warned})
        yield _counter("rows", "Rows that were ingested, by what became of them.", "class", classes)
        yield _counter("dead_letters", "Refused records by reason; one may have several.", "reason", reasons)
        yield _counter("warnings", "Rows with a warning, by its rule.", "rule", warnings)


def _counter(name: str, says: str, label: str, values: Counter[tuple[str, str]]) -> Metric:
    metric = CounterMetricFamily(f"raypipe_ingest_{name}", says, labels=["source", label])
    for labels, value in sorted(values.items()):
        metric.add_metric(labels, value)
    return metric


def _gauge(name: str, says: str, values: dict[str, float]) -> Metric:
    metric = GaugeMetricFamily(f"raypipe_ingest_{name}", says, labels=["source"])
    for source, value in sorted(values.items()):
        metric.add_metric([source], value)
    return metric
