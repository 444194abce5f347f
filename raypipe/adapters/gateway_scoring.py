"""From a request's body to an answer: parsed, scored by the champion or by the challenger on trial, and noted down.

Without a trial nothing here waits. Whatever the challenger does, the user gets an answer of the champion at worst.
Knows both protocols; does not know URLs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
import pyarrow as pa

from raypipe.adapters.gateway_config import ModelConfig
from raypipe.adapters.gateway_http import Answer, Refused
from raypipe.adapters.gateway_lane import ChallengerFailed
from raypipe.adapters.gateway_log import Answered, Paired, Recorder
from raypipe.adapters.gateway_state import GatewayState, Serving
from raypipe.adapters.gateway_trial import Assignment, Trial, unit_of
from raypipe.columns import Column
from raypipe.errors import BadRequest
from raypipe.protocol import invocations, oip

# About 200 rows of 15 columns, 1 to 2 ms of work: as long as one answer may keep the others waiting.
INLINE_BYTES = 32_768
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came: its headers, its body, its id, and the limits in force.

    `known` names the columns of every version of the model at hand: one that another version takes may be sent to all,
    so that clients need not change what they send at the instant at which a version takes over.
    """

    headers: dict[bytes, bytes]
    body: bytes
    identity: str
    max_rows: int
    known: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a request asks about, and how its protocol answers."""

    table: pa.Table
    reply: Callable[[np.ndarray, oip.Origin, str], bytes]


class Parse(Protocol):
    """Reads a request of one protocol for a model's inputs; raises `BadRequest`."""

    def __call__(self, asked: Asked, columns: tuple[Column, ...], schema: pa.Schema) -> Parsed:
        """Return what is asked."""


def parse_infer(asked: Asked, columns: tuple[Column, ...], schema: pa.Schema) -> Parsed:
    """Return a request of the Open Inference Protocol."""
    if b"inference-header-content-length" in asked.headers:
        raise BadRequest("binary tensors are not understood: send JSON (binary_data=False in tritonclient)")
    request = oip.parse_infer(asked.body, columns, max_rows=asked.max_rows, schema=schema, ignored=asked.known)

    def reply(scores: np.ndarray, origin: oip.Origin, identity: str) -> bytes:
        return oip.infer_answer(request, scores, origin, request_id=identity)

    return Parsed(request.table, reply)


def parse_invocations(asked: Asked, columns: tuple[Column, ...], schema: pa.Schema) -> Parsed:
    """Return a request of MLflow's scoring protocol."""
    content_type = asked.headers.get(b"content-type", b"").decode("latin-1")
    table = invocations.parse_invocations(
        asked.body, content_type, columns, max_rows=asked.max_rows, schema=schema, ignored=asked.known
    )
    return Parsed(table, lambda scores, origin, identity: invocations.predictions_answer(scores))


class Scoring:
    """Answers scoring requests of one replica.

    Parameters
    ----------
    executor
        Runs large requests, so that health checks are answered meanwhile.
    recorder
        Takes note of answers and pairs.
    """

    def __init__(self, executor: Executor, recorder: Recorder) -> None:
        self._executor = executor
        self._recorder = recorder
        self._copies: set[asyncio.Task[None]] = set()

    async def answer(
        self, parse: Parse, state: GatewayState, serving: Serving, asked: Asked, trial: Trial | None, *, pinned: bool
    ) -> Answer:
        """Return the answer of a loaded version; of the champion, with its challenger on trial beside it."""
        if trial is None or pinned:
            return await self._run(asked, partial(self._plain, parse, state, serving, asked, pinned=pinned))
        return await self._tried(parse, serving, asked, trial)

    async def answer_pinned(self, parse: Parse, config: ModelConfig, trial: Trial, asked: Asked) -> Answer:
        """Return the challenger's own answer: for who pins its version there is nobody to fall back on."""
        order = trial.order
        request = await self._run(asked, partial(parse, asked, order.columns, trial.schema))
        try:
            scores = await trial.lane.ask(request.table)
        except ChallengerFailed as failure:
            status = 500 if failure.reason == "error" else 503
            raise Refused(status, f"version {order.version} failed: {failure.message}") from failure
        return _reply(request, scores, config, order.version, "pinned", "challenger", asked)

    def _plain(self, parse: Parse, state: GatewayState, serving: Serving, asked: Asked, *, pinned: bool) -> Answer:
        request = parse(asked, serving.scorer.columns, serving.schema)
        started = time.perf_counter()
        scores = serving.scorer.score(request.table)
        model = state.models[serving.name]
        ours = model.champion is not None and model.champion.version == serving.version
        answer = _reply(
            request, scores, model.config, serving.version, "champion" if ours else "pinned", "champion", asked
        )
        if not pinned:
            noted = _Noted(model.config, serving, asked, request, started)
            self._recorder.answered(noted.row(asked.identity, "request", scores, "champion", "champion", None))
        return answer

    async def _tried(self, parse: Parse, serving: Serving, asked: Asked, trial: Trial) -> Answer:
        request = await self._run(asked, partial(parse, asked, serving.scorer.columns, serving.schema))
        unit, kind = unit_of(trial.order, asked.headers, asked.identity, request.table)
        assignment = trial.assign(unit)
        # The order may have moved on while the body came in; the epoch that is told is the one that assigned.
        config = trial.config
        noted = _Noted(config, serving, asked, request, time.perf_counter())
        arm, by, version, reason = "champion", "champion", serving.version, None
        scores: np.ndarray | None = None
        if assignment.challenger:
            arm = "challenger"
            scores, reason = await self._challenged(parse, request, serving, asked, trial, assignment)
            if scores is not None:
                by, version = "challenger", trial.order.version
        if scores is None:
            try:
                scores = await self._run(asked, partial(serving.scorer.score, request.table))
            except Exception:
                if not assignment.challenger:
                    assignment.count_request(failed=True)
                self._copy(parse, noted, trial, assignment, None)
                raise
        if not assignment.challenger:
            assignment.count_request(failed=False)
        self._recorder.answered(noted.row(unit, kind, scores, arm, by, reason, version))
        self._copy(parse, noted, trial, assignment, scores)
        return _reply(request, scores, config, version, arm, by, asked)

    async def _challenged(
        self, parse: Parse, request: Parsed, serving: Serving, asked: Asked, trial: Trial, assignment: Assignment
    ) -> tuple[np.ndarray | None, str | None]:
        """Return the challenger's scores, or why there are none; count both, by intention to treat."""
        if not assignment.leased:
            assignment.count_fallback("lease")
            return None, "lease"
        try:
            table = await self._run(asked, partial(_table_for, parse, request, serving, asked, trial))
            scores = await trial.lane.ask(table)
        except ChallengerFailed as failure:
            assignment.count_fallback(failure.reason)
            # What an open circuit diverts was never the challenger's to fail.
            if failure.reason == "circuit":
                assignment.count_diverted()
            else:
                assignment.count_request(failed=True)
            return None, failure.reason
        assignment.count_request(failed=False)
        return scores, None

    def _copy(
        self, parse: Parse, noted: _Noted, trial: Trial, assignment: Assignment, scores: np.ndarray | None
    ) -> None:
        """Send a copy where the split says so; without `scores` the champion has failed on it."""
        if not (assignment.copied and assignment.leased):
            return
        try:
            table = _table_for(parse, noted.request, noted.serving, noted.asked, trial)
        except ChallengerFailed as failure:
            assignment.count_pair(challenger_failed=True, champion_failed=scores is None)
            self._recorder.paired(noted.pair(assignment.unit, trial.order.version, scores, None, failure.message))
            return
        waiting = trial.lane.copy(table)
        if waiting is None:
            assignment.count_dropped()
            return
        task = asyncio.get_running_loop().create_task(self._pair(waiting, noted, trial, assignment, scores))
        self._copies.add(task)
        task.add_done_callback(self._copies.discard)

    async def _pair(
        self,
        waiting: asyncio.Future[np.ndarray],
        noted: _Noted,
        trial: Trial,
        assignment: Assignment,
        champion: np.ndarray | None,
    ) -> None:
        version = trial.order.version
        challenger: np.ndarray | None = None
        error: str | None = None
        try:
            challenger = await waiting
        except ChallengerFailed as failure:
            error = f"{failure.reason}: {failure.message}"
        assignment.count_pair(challenger_failed=error is not None, champion_failed=champion is None)
        self._recorder.paired(noted.pair(assignment.unit, version, champion, challenger, error))

    async def _run(self, asked: Asked, work: Callable[[], _T]) -> _T:
        if len(asked.body) <= INLINE_BYTES:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


@dataclass(frozen=True, slots=True)
class _Noted:
    """What is known of a request before it is answered."""

    config: ModelConfig
    serving: Serving
    asked: Asked
    request: Parsed
    started: float

    def row(
        self,
        unit: str,
        kind: str,
        scores: np.ndarray,
        arm: str,
        by: str,
        reason: str | None,
        version: str | None = None,
    ) -> Answered:
        return Answered(
            at=datetime.now(UTC),
            request_id=self.asked.identity,
            model=self.config.name,
            unit=unit,
            unit_kind=kind,
            assigned_arm=arm,
            answered_by=by,
            fallback_reason=reason,
            version=version or self.serving.version,
            rollout=self.config.rollout,
            epoch=self.config.generation,
            table=self.request.table,
            scores=scores,
            latency_ms=(time.perf_counter() - self.started) * 1000,
        )

    def pair(
        self, unit: str, version: str, champion: np.ndarray | None, challenger: np.ndarray | None, error: str | None
    ) -> Paired:
        return Paired(
            at=datetime.now(UTC),
            request_id=self.asked.identity,
            model=self.config.name,
            unit=unit,
            rollout=self.config.rollout or "",
            epoch=self.config.generation,
            champion_version=self.serving.version,
            challenger_version=version,
            champion_scores=champion,
            challenger_scores=challenger,
            error=error,
        )


def _table_for(parse: Parse, request: Parsed, serving: Serving, asked: Asked, trial: Trial) -> pa.Table:
    """Return the request for the challenger's inputs; one that lacks them is one that it fails."""
    if trial.schema == serving.schema:
        return request.table
    if all(field in serving.schema for field in trial.schema):
        return request.table.select(trial.schema.names)
    try:
        return parse(asked, trial.order.columns, trial.schema).table
    except BadRequest as error:
        raise ChallengerFailed("error", f"the request lacks what it needs: {error.message}") from error


def _reply(
    request: Parsed, scores: np.ndarray, config: ModelConfig, version: str, arm: str, by: str, asked: Asked
) -> Answer:
    origin = oip.Origin(config.name, version, config.generation, arm, config.rollout)
    return Answer(200, request.reply(scores, origin, asked.identity), _headers(origin, by))


def _headers(origin: oip.Origin, by: str) -> tuple[tuple[bytes, bytes], ...]:
    told: Mapping[bytes, str | None] = {
        b"x-raypipe-version": origin.version,
        b"x-raypipe-epoch": str(origin.epoch),
        b"x-raypipe-arm": origin.arm,
        b"x-raypipe-answered-by": by if origin.arm != "pinned" else origin.arm,
        b"x-raypipe-rollout": origin.rollout,
    }
    return tuple((name, value.encode()) for name, value in told.items() if value is not None)
