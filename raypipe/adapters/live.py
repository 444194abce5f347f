"""What was answered in a window, read from the prediction log, with the labels that have become known since.

A window's rows are in memory as they were logged; their inputs are parsed and profiled in batches, so that only one
batch of them is there at a time. A prediction's label is that of the event whose id the caller sent as the request's
id. Knows the lake's tables; does not judge.
"""

from __future__ import annotations

from datetime import datetime
from functools import reduce
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from raypipe.adapters.lake.catalog import PREDICTIONS, events_table, predictions_table
from raypipe.adapters.lake.store import Store
from raypipe.bundle import Bundle
from raypipe.columns import Column
from raypipe.config import Pipeline
from raypipe.drift.decide import Live
from raypipe.features.examples import label_columns
from raypipe.features.expression import evaluate
from raypipe.profile import SCORE, Profile

_BATCH_ROWS = 50_000


class LivePredictions:
    """Fulfils `ports.Predictions`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def live(self, pipeline: Pipeline, version: str, bundle: Bundle, since: datetime, until: datetime) -> Live:
        """Return what a version answered in a window, with the labels that are known by now."""
        wanted = (
            (pc.field("model") == pipeline.spec.name)
            & (pc.field("version") == version)
            & (pc.field("at") >= pa.scalar(since, PREDICTIONS.field("at").type))
            & (pc.field("at") < pa.scalar(until, PREDICTIONS.field("at").type))
        )
        rows = predictions_table(self._store).read(["request_id", "row", "features", "score"], where=wanted)
        parts = (_profile(rows.slice(i, _BATCH_ROWS), bundle.columns) for i in range(0, rows.num_rows, _BATCH_ROWS))
        profile = reduce(Profile.merge, parts, Profile.empty())
        labels, scores = self._labelled(pipeline, rows)
        return Live(since, until, version, rows.num_rows, profile, labels, scores)

    def _labelled(self, pipeline: Pipeline, rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        label = pipeline.spec.label
        table = events_table(self._store, label.source, pipeline.contracts[label.source])
        ids = rows.column("request_id").unique()
        known = table.read(label_columns(label), where=pc.field("event_id").isin(ids))
        columns: dict[str, Any] = {
            "request_id": known.column("event_id"),
            "known_at": known.column("known_at"),
            "label": evaluate(known, label.from_, of=f"source `{label.source}`"),
        }
        truth = pa.table(columns).drop_null()
        # Of several the last known is the truth; a request of several rows names only its first by its id.
        latest = dict(
            zip(*(truth.sort_by("known_at").column(c).to_pylist() for c in ("request_id", "label")), strict=True)
        )
        first = rows.filter(pc.field("row") == 0)
        pairs: list[tuple[Any, Any]] = [
            (latest[i], s)
            for i, s in zip(first.column("request_id").to_pylist(), first.column("score").to_pylist(), strict=True)
            if i in latest
        ]
        return np.array([p[0] for p in pairs], np.float64), np.array([p[1] for p in pairs], np.float64)


def _profile(rows: pa.Table, columns: tuple[Column, ...]) -> Profile:
    records = [orjson.loads(text or "{}") for text in rows.column("features").to_pylist()]
    arrays: dict[str, Any] = {c.name: _typed([r.get(c.name) for r in records], c) for c in columns}
    arrays[SCORE] = rows.column("score")
    return Profile.of(pa.table(arrays))


def _typed(values: list[Any], column: Column) -> pa.Array[Any]:
    if column.type == "timestamp":
        return pa.array(values, pa.string()).cast(column.arrow)
    return pa.array(values, column.arrow)
