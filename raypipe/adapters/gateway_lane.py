"""The way from a gateway to its challenger: one call at a time, and whatever arrives meanwhile travels in the next.

Bounded in waiting and in time; a challenger that cannot be reached is left alone for a while. Lives on one event loop.
Does not know Ray: how the challenger is called is given.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

Call = Callable[[pa.Table], Awaitable[np.ndarray]]
"""Returns the challenger's scores; raises `ChallengerFailed` when it answers with an error, else anything."""
Reason = Literal["error", "timeout", "circuit", "unreachable"]

# So many calls in a row that did not reach it open the circuit, for so long; then one request tries again.
_FAILURES, _OPEN_S = 5, 1.0
# One call carries up to so many rows: what a model of a tabular kind scores within some milliseconds.
_ROWS = 2_000


class ChallengerFailed(Exception):
    """The challenger did not answer a request; the champion does."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.message = message


@dataclass(slots=True, eq=False)
class _Waiting:
    table: pa.Table
    scores: asyncio.Future[np.ndarray]


class Lane:
    """One model's way to its challenger.

    Parameters
    ----------
    call
        Asks the challenger.
    timeout_s
        After which a request is given up, its waiting included.
    copies
        Shadow copies that may wait; more are dropped.
    """

    def __init__(self, call: Call, *, timeout_s: float, copies: int = 256) -> None:
        self._call, self._timeout_s, self._copies = call, timeout_s, copies
        self._waiting: list[_Waiting] = []
        self._busy: asyncio.Task[None] | None = None
        self._failures = 0
        self._opened_at: float | None = None
        self._probe_at = 0.0

    @property
    def open_s(self) -> float:
        """For how long the challenger has not been reached by now, in seconds; 0 while it is."""
        return 0.0 if self._opened_at is None else asyncio.get_running_loop().time() - self._opened_at

    async def ask(self, table: pa.Table) -> np.ndarray:
        """Return the challenger's scores.

        Raises
        ------
        ChallengerFailed
            When it fails, takes too long, or is not to be bothered now.
        """
        self._check_circuit()
        try:
            return await asyncio.wait_for(self._submit(table), self._timeout_s)
        except TimeoutError as error:
            raise ChallengerFailed("timeout", f"no answer in {self._timeout_s * 1000:.0f} ms") from error

    def copy(self, table: pa.Table) -> asyncio.Future[np.ndarray] | None:
        """Return where the scores of a shadow copy will be, None when it was dropped because too many wait."""
        if len(self._waiting) >= self._copies:
            return None
        try:
            self._check_circuit()
        except ChallengerFailed:
            return None
        return self._submit(table)

    def _check_circuit(self) -> None:
        if self._opened_at is None:
            return
        now = asyncio.get_running_loop().time()
        if now < self._probe_at:
            raise ChallengerFailed("circuit", "the challenger could not be reached a moment ago")
        self._probe_at = now + _OPEN_S

    def _submit(self, table: pa.Table) -> asyncio.Future[np.ndarray]:
        loop = asyncio.get_running_loop()
        item = _Waiting(table, loop.create_future())
        self._waiting.append(item)
        if self._busy is None:
            self._busy = loop.create_task(self._drain())
        return item.scores

    async def _drain(self) -> None:
        try:
            while self._waiting:
                batch = self._next_batch()
                if batch:
                    await self._send(batch)
        finally:
            self._busy = None

    def _next_batch(self) -> list[_Waiting]:
        # Whoever was given up meanwhile does not travel.
        waiting = [item for item in self._waiting if not item.scores.done()]
        batch: list[_Waiting] = []
        rows = 0
        for item in waiting:
            if batch and (rows + item.table.num_rows > _ROWS or item.table.schema != batch[0].table.schema):
                break
            batch.append(item)
            rows += item.table.num_rows
        self._waiting = waiting[len(batch) :]
        return batch

    async def _send(self, batch: list[_Waiting]) -> None:
        try:
            table = batch[0].table if len(batch) == 1 else pa.concat_tables([item.table for item in batch])
            scores = await self._reach(table)
        except ChallengerFailed as failure:
            if len(batch) == 1 or failure.reason != "error":
                for item in batch:
                    _fail(item, failure)
                return
            # One bad request must not count against the others: each is asked about once, by itself.
            for item in batch:
                if not item.scores.done():
                    await self._send([item])
            return
        start = 0
        for item in batch:
            rows = item.table.num_rows
            if not item.scores.done():
                item.scores.set_result(scores[start : start + rows])
            start += rows

    async def _reach(self, table: pa.Table) -> np.ndarray:
        """Return scores, one for each row; keep the circuit's account."""
        try:
            scores = await asyncio.wait_for(self._call(table), self._timeout_s)
        except ChallengerFailed:
            self._reached()
            raise
        except TimeoutError as error:
            self._missed()
            raise ChallengerFailed("timeout", f"no answer in {self._timeout_s * 1000:.0f} ms") from error
        except Exception as error:  # whatever keeps us from the challenger: the champion's turn; tested
            self._missed()
            raise ChallengerFailed("unreachable", f"{type(error).__name__}: {error}") from error
        self._reached()
        if scores.shape != (table.num_rows,) or not np.isfinite(scores).all():
            raise ChallengerFailed("error", f"{scores.shape} scores, not all finite, for {table.num_rows} rows")
        return scores

    def _reached(self) -> None:
        self._failures, self._opened_at = 0, None

    def _missed(self) -> None:
        self._failures += 1
        if self._failures >= _FAILURES:
            now = asyncio.get_running_loop().time()
            self._opened_at = now if self._opened_at is None else self._opened_at
            self._probe_at = now + _OPEN_S


def _fail(item: _Waiting, failure: ChallengerFailed) -> None:
    if not item.scores.done():
        item.scores.set_exception(failure)
        item.scores.exception()  # a copy that nobody awaits any more is no forgotten error
