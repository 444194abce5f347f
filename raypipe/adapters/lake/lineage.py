"""From an answer, a version or a rollout back to decisions, run, data, contracts and code. Knows tables and versions.

A version knows its data by name and digest (`bundle.lineage`), a prediction its version and the decision in force, and
a rollout is a part of its stream of decisions. Nothing is guessed: what is not recorded is said to be missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.adapters.lake.bundles import LakeBundles
from raypipe.adapters.lake.catalog import predictions_table
from raypipe.adapters.lake.decisions import Decisions, retention_of
from raypipe.adapters.lake.fates import REPLAY, stream_of
from raypipe.adapters.lake.store import Store
from raypipe.adapters.lake.tables import LakeTable
from raypipe.contracts.halt import manifest_of
from raypipe.decision import Decision, verify
from raypipe.errors import ConfigError
from raypipe.ports import ModelVersion, Registry
from raypipe.snapshot import Snapshot

Line = tuple[int, str]
_VERSION = re.compile(r"^([a-z][a-z0-9_]*)/(\d+)$")
_ROLLOUT = re.compile(r"^([a-z][a-z0-9_]*)-(\d+)$")


@dataclass(frozen=True, slots=True)
class _Subject:
    """What an id names: at least one of them."""

    predictions: tuple[dict[str, Any], ...] = ()
    version: ModelVersion | None = None
    rollout: tuple[Decision, ...] = ()


class Lineages:
    """Answers where things came from.

    Parameters
    ----------
    store
        The lake.
    registry
        Versions and their verdicts.

    Raises
    ------
    ConfigError
        From every method, when nothing has such an id.
    """

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store, self._registry = store, registry
        self._decisions, self._bundles = Decisions(store), LakeBundles(store)

    def explain(self, subject: str) -> Iterator[str]:
        """Yield in words, with the numbers, why it came out as it did."""
        found = self._find(subject)
        for p in found.predictions:
            yield from self._why_answer(p)
        if found.version:
            yield from self._why_version(found.version)
        for d in found.rollout:
            yield f"{d.generation} {d.at:%Y-%m-%d %H:%M:%S}Z {d.what} by {d.who}: {d.why}"

    def trace(self, subject: str) -> Iterator[Line]:
        """Yield (depth, text) of a tree, root first."""
        found = self._find(subject)
        yield 0, subject
        for p in found.predictions:
            yield (
                1,
                f"prediction {p['request_id']} row {p['row']}, score {p['score']:.4f}, at {p['at']:%Y-%m-%d %H:%M:%S}Z",
            )
            yield from self._decision_in_force(p, 2)
            version = self._version(p["model"], p["version"])
            yield from self._of_version(version, 2) if version else [(2, f"version {p['version']} is not registered")]
        if found.version:
            yield from self._of_version(found.version, 1)
        if found.rollout:
            yield from self._of_rollout(found.rollout, 1)

    def _find(self, subject: str) -> _Subject:
        if (named := _VERSION.match(subject)) and (version := self._version(named[1], named[2])):
            return _Subject(version=version)
        if (named := _ROLLOUT.match(subject)) and (rollout := self._rollout(named[1], subject)):
            return _Subject(rollout=rollout)
        rows = predictions_table(self._store).read(where=pc.field("request_id") == subject).sort_by("row").to_pylist()
        if rows:
            return _Subject(predictions=tuple(rows))
        raise ConfigError(
            f"nothing is called {subject!r}: give a request id (`request_id` in the table `predictions`, answered as "
            "x-request-id), a version such as flights/3, or a rollout such as flights-7 (`raypipe release status`)"
        )

    def _version(self, name: str, number: str) -> ModelVersion | None:
        found = self._registry.version(name, number)
        return found[0] if found else None

    def _stream(self, name: str) -> tuple[Decision, ...]:
        stream = self._decisions.stream(name)
        verify(stream)
        return stream

    def _rollout(self, name: str, rollout: str) -> tuple[Decision, ...]:
        def of(d: Decision) -> object:
            return json.loads(d.evidence)["state"]["rollout"]

        return tuple(d for d in self._stream(f"release/{name}") if of(d) == rollout)

    def _why_answer(self, p: dict[str, Any]) -> Iterator[str]:
        name = f"version {p['version']} of {p['model']}"
        yield f"request {p['request_id']} row {p['row']}: score {p['score']:.4f} by {name}"
        yield f"  features: {p['features']}"
        split = f"unit {p['unit']} ({p['unit_kind']}) was assigned to the {p['assigned_arm']}"
        yield f"  {split}, the {p['answered_by']} answered in {p['latency_ms']:.1f} ms"
        if p["fallback_reason"]:
            yield f"  the champion answered for the challenger: {p['fallback_reason']}"
        for depth, text in self._decision_in_force(p, 1):
            yield f"{'  ' * depth}{text}"

    def _decision_in_force(self, p: dict[str, Any], depth: int) -> Iterator[Line]:
        stream = self._stream(f"release/{p['model']}")
        d = next((d for d in stream if d.generation == p["epoch"]), None)
        if d is None:
            yield depth, f"the decision of epoch {p['epoch']} is not in the lake"
            return
        yield depth, f"in force: decision {d.generation} of release/{p['model']}, {d.what} by {d.who}: {d.why}"

    def _why_version(self, version: ModelVersion) -> Iterator[str]:
        yield f"version {version.version} of {version.name}, bundle {version.digest[:12]}"
        for finding in self._registry.findings(version.name, version.version):
            yield f"  {finding['status']}: {finding['message']}"
        for d in self._stream(f"release/{version.name}"):
            if json.loads(d.evidence)["state"]["candidate"]["version"] == version.version:
                yield f"  {d.at:%Y-%m-%d %H:%M:%S}Z {d.what} by {d.who}: {d.why}"

    def _of_version(self, version: ModelVersion, depth: int) -> Iterator[Line]:
        lineage = self._bundles.get(version.digest).lineage
        found = self._registry.version(version.name, version.version)
        verdict = found[1] if found else "unknown"
        yield depth, f"version {version.name}/{version.version}, {verdict}, bundle {version.digest[:12]}"
        yield depth + 1, f"tracked run {self._registry.run_of(version.name, version.version)}, seed {lineage.seed}"
        yield depth + 1, f"code {lineage.code_digest[:12]}, configuration {lineage.config_digest[:12]}"
        for snapshot in lineage.snapshots:
            yield (
                depth + 1,
                f"{snapshot.table} version {snapshot.version}, {snapshot.rows:,} rows, {snapshot.digest[:12]}",
            )
            for line in self._brought(snapshot):
                yield depth + 2, line
        for name, number, digest in lineage.contracts:
            yield depth + 1, f"contract {name} {number}, {digest[:12]}"

    def _brought(self, snapshot: Snapshot) -> Iterator[str]:
        """Yield what led to a version of a source's table; what came later is none of its."""
        source = snapshot.table.removeprefix("events/")
        if source == snapshot.table or snapshot.version < 0:
            return
        ingest, letters, streamed = f"ingest/{source}", stream_of(source), f"stream/{source}"
        expired = retention_of(source)
        table = LakeTable(self._store, snapshot.table, pa.schema([]))
        numbers = table.standing((ingest, letters, streamed, expired), snapshot.version).numbers
        told = [d for d in self._decisions.stream(ingest) if manifest_of(d) <= numbers[ingest]]
        made = 0
        for d in self._decisions.stream(letters):
            if d.what == REPLAY and made < (made := int(json.loads(d.evidence)["replay"])) <= numbers[letters]:
                told.append(d)
        for d in self._decisions.stream(expired):
            evidence = json.loads(d.evidence)
            if evidence["table"] == snapshot.table and evidence["commit"] <= numbers[expired]:
                told.append(d)
        for d in sorted(told, key=lambda d: d.at):
            yield f"{d.stream.partition('/')[0]} {d.generation} at {d.at:%Y-%m-%d %H:%M:%S}Z: {d.what}, {d.why}"
        if numbers[streamed]:
            yield f"stream: {numbers[streamed]:,} batches"

    def _of_rollout(self, rollout: tuple[Decision, ...], depth: int) -> Iterator[Line]:
        for d in rollout:
            yield depth, f"{d.what} at {d.at:%Y-%m-%d %H:%M:%S}Z by {d.who}: {d.why}"
        state = json.loads(rollout[-1].evidence)["state"]
        name = rollout[-1].stream.partition("/")[2]
        for role in ("candidate", "champion"):
            if state[role] and (version := self._version(name, state[role]["version"])):
                yield depth, role
                yield from self._of_version(version, depth + 1)
