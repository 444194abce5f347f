"""The prediction log of one gateway replica: every answer and every pair, in the lake, off the request path.

A request leaves a reference in memory and goes on; a thread turns what has gathered into rows and commits them, each
batch once. Bounded: when the store is away for long, the newest are dropped and counted, never the service.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby, islice
from typing import Any, Generic, TypeVar

import numpy as np
import orjson
import pyarrow as pa

from raypipe.adapters.gateway_log import Answered, Paired
from raypipe.adapters.lake.catalog import PREDICTIONS, SHADOW_PAIRS, predictions_table, shadow_pairs_table
from raypipe.adapters.lake.store import Store
from raypipe.adapters.lake.tables import LakeTable
from raypipe.errors import RaypipeError
from raypipe.telemetry import event

_UTC_Z = orjson.OPT_UTC_Z
_Row = TypeVar("_Row")


@dataclass(slots=True)
class _Gathered(Generic[_Row]):
    """Rows that wait for one table, the first `tried` of which a commit of `generation` was begun with."""

    table: Callable[[Store], LakeTable]
    rows_of: Callable[[Sequence[_Row]], pa.Table]
    waiting: deque[_Row] = field(default_factory=deque)
    tried: int = 0
    generation: int = 0
    malformed: int = 0


class PredictionLog:
    """Fulfils `gateway_log.Recorder`.

    Parameters
    ----------
    replica
        Id of this process; its batches are numbered under this name, so that none is committed twice.
    flush_s
        How often what has gathered is written.
    capacity
        Answers, and pairs, that may wait; more are dropped.
    """

    def __init__(self, replica: str, *, flush_s: float = 3.0, capacity: int = 100_000) -> None:
        self._app_id = f"log/{replica}"
        self._flush_s, self._capacity = flush_s, capacity
        self._answers = _Gathered[Answered](predictions_table, prediction_rows)
        self._pairs = _Gathered[Paired](shadow_pairs_table, pair_rows)
        self._dropped = self._written = 0
        self._store: Store | None = None
        self._closing = threading.Event()
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)

    def open(self, store: Store) -> None:
        """Write to this lake from now on; telling it again changes nothing."""
        if self._store is None:
            self._store = store
            self._thread.start()

    def answered(self, row: Answered) -> None:
        """Take note of an answer."""
        if len(self._answers.waiting) >= self._capacity:
            self._dropped += 1
        else:
            self._answers.waiting.append(row)

    def paired(self, row: Paired) -> None:
        """Take note of a pair."""
        if len(self._pairs.waiting) >= self._capacity:
            self._dropped += 1
        else:
            self._pairs.waiting.append(row)

    def counts(self) -> dict[str, int]:
        """Return how many answers and pairs are written, wait, or were dropped: for want of room, or as malformed."""
        # Two counts, since two threads drop: neither may overwrite what the other added.
        dropped = self._dropped + self._answers.malformed + self._pairs.malformed
        return {"written": self._written, "waiting": self._waiting, "dropped": dropped}

    def close(self, timeout_s: float = 10.0) -> None:
        """Write what waits and end; what the store does not take in time is lost, and said so."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        if lost := self._waiting:
            event("gateway", f"{lost} answers and pairs were not logged: the store did not take them", lost=lost)

    def flush(self) -> None:
        """Write everything that has gathered; a batch that cannot be turned into rows is dropped and counted.

        Raises
        ------
        RaypipeError
            When the store does not take it; nothing is lost, and the next flush writes it.
        """
        if self._store is None:
            return
        with self._writing:
            self._write(self._answers)
            self._write(self._pairs)

    @property
    def _waiting(self) -> int:
        return len(self._answers.waiting) + len(self._pairs.waiting)

    def _run(self) -> None:
        said = False
        while True:
            last = self._closing.wait(self._flush_s)
            try:
                self.flush()
                said = False
            except Exception as error:  # noqa: BLE001 the thread's boundary: rows wait, are counted so, and tested
                if not said:
                    reason = error.message if isinstance(error, RaypipeError) else f"{type(error).__name__}: {error}"
                    event("gateway", f"the prediction log waits: {reason}")
                said = True
            if last:
                return

    def _write(self, gathered: _Gathered[_Row]) -> None:
        assert self._store is not None
        table = gathered.table(self._store)
        written = table.generation(self._app_id) if gathered.tried or gathered.waiting else 0
        if gathered.tried and written >= gathered.generation:
            # A commit whose answer was lost: its rows are there, and must not come twice.
            self._done(gathered)
        if not gathered.waiting:
            return
        gathered.tried, gathered.generation = len(gathered.waiting), written + 1
        try:
            rows = gathered.rows_of(list(islice(gathered.waiting, gathered.tried)))
        except Exception as error:  # noqa: BLE001 it would fail at each flush, and all after it: counted, and tested
            self._drop(gathered, error)
            return
        table.append(rows, app_id=self._app_id, generation=gathered.generation)
        self._done(gathered)

    def _done(self, gathered: _Gathered[_Row]) -> None:
        self._written += _taken_out(gathered)

    def _drop(self, gathered: _Gathered[_Row], error: Exception) -> None:
        if not gathered.malformed:
            reason = f"{type(error).__name__}: {error}"
            lost = f"{gathered.tried} answers or pairs cannot be logged and are dropped, as will be others like them"
            event("gateway", f"{lost}: {reason}", dropped=gathered.tried, reason=reason)
        gathered.malformed += _taken_out(gathered)


def _taken_out(gathered: _Gathered[_Row]) -> int:
    """Return how many rows were tried and no longer wait."""
    tried, gathered.tried = gathered.tried, 0
    for _ in range(tried):
        gathered.waiting.popleft()
    return tried


def prediction_rows(answers: Sequence[Answered]) -> pa.Table:
    """Return one row of `predictions` for each row of each request."""
    sizes = [a.table.num_rows for a in answers]
    of_each = np.repeat(np.arange(len(answers)), sizes)

    def told(values: list[object], name: str) -> pa.Array[Any]:
        given: pa.Array[Any] = pa.array(values, PREDICTIONS.field(name).type)
        return given.take(of_each)

    named = {
        name: told([getattr(a, name) for a in answers], name)
        for name in PREDICTIONS.names
        if name not in ("row", "features", "score")
    }
    own: dict[str, Any] = {
        "row": np.concatenate([np.arange(n) for n in sizes]) if sizes else [],
        "features": _features([a.table for a in answers]),
        "score": np.concatenate([a.scores for a in answers]) if sizes else [],
    }
    return pa.table({**named, **own}).select(PREDICTIONS.names).cast(PREDICTIONS)


def pair_rows(pairs: Sequence[Paired]) -> pa.Table:
    """Return one row of `shadow_pairs` for each row of each pair."""
    rows = []
    for p in pairs:
        shared = {name: getattr(p, name) for name in SHADOW_PAIRS.names if hasattr(p, name)}
        champion, challenger = _listed(p.champion_scores), _listed(p.challenger_scores)
        for row in range(max(len(champion), len(challenger), 1)):
            ours, theirs = champion[row] if champion else None, challenger[row] if challenger else None
            difference = None if ours is None or theirs is None else theirs - ours
            scores = {"champion_score": ours, "challenger_score": theirs, "difference": difference}
            rows.append(shared | scores | {"row": row})
    return pa.Table.from_pylist(rows, schema=SHADOW_PAIRS)


def _listed(scores: np.ndarray | None) -> list[float]:
    return [] if scores is None else [float(s) for s in scores]


def _features(tables: Sequence[pa.Table]) -> list[str]:
    """Return each row as a JSON object; neighbours of one schema are read together."""
    alike = groupby(tables, key=lambda t: t.schema)
    rows = chain.from_iterable(pa.concat_tables(list(group)).to_pylist() for _, group in alike)
    return [orjson.dumps(row, option=_UTC_Z).decode() for row in rows]
