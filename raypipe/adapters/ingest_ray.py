"""Objects of the landing zone become rows of the lake, each exactly once, on Ray Data.

Per source: the manifest is committed; its objects are staged (read, checked, split: files that no reader sees);
keys alone are compared to find duplicates; only files that hold duplicates are written again; the gate judges; then
the dead letters and the events are committed under the manifest's generation, and the decision is recorded. All
sources share the Ray Data runs. Does not know what the rows are for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import reduce

from raypipe.adapters.ingest_stage import (
    Deduplicate,
    Rewrite,
    Stage,
    Staged,
    deduplicate,
    rewrite,
    stage,
)
from raypipe.adapters.lake.catalog import dead_letters_table, events_table
from raypipe.adapters.lake.decisions import Decisions
from raypipe.adapters.lake.files import DataFile, WrittenFile
from raypipe.adapters.lake.manifests import ManifestEntry, Manifests
from raypipe.adapters.lake.store import Store
from raypipe.adapters.lake.tables import LakeTable
from raypipe.adapters.ray_map import map_tasks
from raypipe.config import Pipeline
from raypipe.contracts.contract import Contract
from raypipe.contracts.gate import GateEvidence, judge
from raypipe.contracts.source import SourceSpec
from raypipe.errors import RaypipeError
from raypipe.ports import Ingested
from raypipe.telemetry import event
from raypipe.verdict import Finding, Status, Verdict

_BIN_BYTES = 32_000_000  # about 100 ms of reading and checking a task
_BIN_OBJECTS = 64
_BUCKET_ROWS = 8_000_000  # keys of one bucket stay under about 1 GB in a worker


@dataclass(slots=True)
class _Work:
    name: str
    stream: str
    spec: SourceSpec
    contract: Contract
    manifest: Sequence[ManifestEntry]
    staged: list[Staged] = field(default_factory=list)
    files: list[WrittenFile] = field(default_factory=list)
    evidence: GateEvidence = field(default_factory=GateEvidence)


class RayIngestor:
    """Ingestion of a pipeline's sources on the Ray cluster that the process is connected to."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._manifests = Manifests(store)
        self._decisions = Decisions(store)

    def ingest(self, pipeline: Pipeline) -> dict[str, Ingested]:
        """Return what became of each source; afterwards everything that had landed is in the lake, or refused.

        Raises
        ------
        Unavailable, AccessDenied
            When the store does not answer or refuses; nothing is lost, and the next run continues.
        GenerationMoved
            When another run ingests the same source at the same time.
        """
        works = []
        for name, spec in pipeline.spec.sources.items():
            stream, contract = f"ingest/{name}", pipeline.contracts[name]
            works.append(_Work(name, stream, spec, contract, self._manifest(stream, name, spec, contract)))
        open_works = [w for w in works if w.manifest]
        self._stage_all(open_works)
        for work in open_works:
            work.evidence = reduce(GateEvidence.merge, (s.evidence for s in work.staged), GateEvidence())
        self._deduplicate_all([w for w in open_works if _judge(w).lets_pass])
        return {w.name: self._conclude(w) for w in works}

    def _manifest(self, stream: str, name: str, spec: SourceSpec, contract: Contract) -> tuple[ManifestEntry, ...]:
        """Return the manifest to execute: an unfinished one before a new one, empty when nothing new has landed."""
        past = self._manifests.read(stream)
        last = past[-1].generation if past else 0
        events = events_table(self._store, name, contract)
        events.refuse_other_columns()
        if events.generation(stream) < last:
            event("ingest", f"{name}: going on with manifest {last}, which an earlier run left unfinished")
            return tuple(e for e in past if e.generation == last)
        if last:
            self._record_committed(stream, last, contract, events)
        seen = {(e.uri, e.etag) for e in past}
        listed = [(o, feed.format) for feed in spec.feeds for o in self._store.listing(feed.uri)]
        new = [(o, f) for o, f in listed if (o.uri, o.etag) not in seen]
        if not new:
            if not past:
                raise RaypipeError(
                    f"source `{name}` is empty: nothing has landed under "
                    f"{', '.join(f.uri for f in spec.feeds)}: land data there, or correct `sources.{name}.feeds`",
                    source=name,
                )
            return ()
        return self._manifests.commit(stream, last + 1, new, self._clock())

    def _stage_all(self, works: Sequence[_Work]) -> None:
        tasks = [Stage(self._store, w.name, w.contract, tuple(entries)) for w in works for entries in _bins(w.manifest)]
        by_name = {w.name: w for w in works}
        for done, staged in enumerate(map_tasks(stage, tasks), start=1):
            by_name[staged.source].staged.append(staged)
            if done % max(1, len(tasks) // 4) == 0 or done == len(tasks):
                rows = sum(s.evidence.rows for w in works for s in w.staged)
                event("ingest", f"read and checked {rows:,} rows, {done} of {len(tasks)} tasks")
        for work in works:
            work.staged.sort(key=lambda s: s.first_position)
            work.files = [f for s in work.staged for f in s.accepted]

    def _deduplicate_all(self, works: Sequence[_Work]) -> None:
        tasks = [task for work in works for task in self._key_tasks(work)]
        drops: dict[tuple[str, str], list[int]] = {}
        for source, found in map_tasks(deduplicate, tasks):
            for path, row in found:
                drops.setdefault((source, path), []).append(row)
        by_name = {w.name: w for w in works}
        rewrites = [
            Rewrite(self._store, source, by_name[source].contract, path, tuple(sorted(rows)))
            for (source, path), rows in drops.items()
        ]
        replaced = {(source, path): file for source, path, file in map_tasks(rewrite, rewrites)}
        for work in works:
            duplicates = sum(len(rows) for (source, _), rows in drops.items() if source == work.name)
            kept = [replaced.get((work.name, f.path), f) for f in work.files]
            work.files = [f for f in kept if f is not None]
            work.evidence = work.evidence.without_duplicates(duplicates)

    def _key_tasks(self, work: _Work) -> list[Deduplicate]:
        if not work.files:
            return []
        existing = _within(work, events_table(self._store, work.name, work.contract).files())
        rows = sum(f.rows for f in work.files) + sum(f.rows for f in existing)
        buckets = -(-rows // _BUCKET_ROWS)
        objects = tuple(e.uri for e in work.manifest)
        staged = tuple(f.path for f in work.files)
        known = tuple(f.uri for f in existing)
        return [
            Deduplicate(self._store, work.name, staged, known, objects, bucket, buckets) for bucket in range(buckets)
        ]

    def _conclude(self, work: _Work) -> Ingested:
        table = events_table(self._store, work.name, work.contract)
        if not work.manifest:
            nothing = Finding("new_rows", Status.NOT_APPLICABLE, f"nothing new has landed for `{work.name}`")
            verdict = Verdict(Status.NOT_APPLICABLE, (nothing,))
            event("ingest", f"{work.name}: nothing new")
            return Ingested(work.name, table.snapshot(), verdict, GateEvidence())
        verdict = _judge(work)
        # Objects without a row are done with, though the run stops: kept open they would block all that come later.
        if verdict.status is not Status.HALTED:
            self._commit(work)
        self._record(work, verdict)
        counts = work.evidence
        event(
            "ingest",
            f"{work.name}: {counts.rows:,} rows in = {counts.accepted:,} accepted + {counts.dead_letters:,} dead "
            f"letters + {counts.duplicates:,} duplicates, {verdict.status}",
        )
        return Ingested(work.name, table.snapshot(), verdict, counts)

    def _commit(self, work: _Work) -> None:
        counts = work.evidence
        if counts.rows != counts.accepted + counts.dead_letters + counts.duplicates:
            raise RaypipeError(
                f"the rows of `{work.name}` do not add up: {counts.rows} in, {counts.accepted} accepted, "
                f"{counts.dead_letters} dead letters, {counts.duplicates} duplicates: nothing was committed; "
                "please report this",
                source=work.name,
            )
        stream = work.stream
        generation = work.manifest[0].generation
        letters = dead_letters_table(self._store)
        if letters.generation(stream) < generation:
            refused = [s.refused for s in work.staged if s.refused is not None]
            letters.commit(refused, app_id=stream, generation=generation)
        events = events_table(self._store, work.name, work.contract)
        events.commit(work.files, app_id=stream, generation=generation, metadata={"counts": _plain(counts)})

    def _record(self, work: _Work, verdict: Verdict) -> None:
        what = "halt" if verdict.status is Status.HALTED else "accept"
        generation = work.manifest[0].generation
        self._decide(work.stream, generation, work.contract, work.evidence, what, verdict.sentence())

    def _record_committed(self, stream: str, generation: int, contract: Contract, events: LakeTable) -> None:
        """Record the decision of a generation whose run was killed between its commit and its decision."""
        past = self._decisions.stream(stream)
        if past and json.loads(past[-1].evidence)["manifest"] >= generation:
            return
        counts = _counts(events.metadata(stream) or {})
        self._decide(stream, generation, contract, counts, "accept", "committed by a run that ended before it said so")

    def _decide(
        self, stream: str, generation: int, contract: Contract, counts: GateEvidence, what: str, why: str
    ) -> None:
        past = self._decisions.stream(stream)
        last = past[-1] if past else None
        evidence = {"manifest": generation, "contract": contract.digest, **_plain(counts)}
        if last and last.what == what and json.loads(last.evidence) == evidence:
            return  # the same halt of the same manifest is one decision, however often it is tried
        self._decisions.record(
            last, stream=stream, at=self._clock(), who="ingest", what=what, why=why, evidence=evidence
        )


def _plain(counts: GateEvidence) -> dict[str, object]:
    """Return counts as they look after a trip through JSON."""
    plain: dict[str, object] = json.loads(json.dumps(asdict(counts)))
    return plain


def _counts(metadata: Mapping[str, object]) -> GateEvidence:
    kept = metadata["counts"]
    if not isinstance(kept, dict):
        raise TypeError(f"the commit's counts are {kept!r}, expected a mapping")
    return GateEvidence(**{**kept, "by_reason": tuple((str(r), int(n)) for r, n in kept["by_reason"])})


def _judge(work: _Work) -> Verdict:
    return judge(work.evidence, work.spec.halt_when, work.name)


def _bins(manifest: Sequence[ManifestEntry]) -> list[list[ManifestEntry]]:
    """Split a manifest into runs of neighbouring objects, each about one task's worth."""
    bins: list[list[ManifestEntry]] = []
    size = 0
    for entry in manifest:
        if not bins or size + entry.size_bytes > _BIN_BYTES or len(bins[-1]) == _BIN_OBJECTS:
            bins.append([])
            size = 0
        bins[-1].append(entry)
        size += entry.size_bytes
    return bins


def _within(work: _Work, files: Sequence[DataFile]) -> list[DataFile]:
    """Return the files of the table that may hold an event of the deduplication window."""
    window = work.spec.dedup.window
    dates = [value for f in work.files for name, value in f.partition if name == "event_date" and value]
    if window is None or not dates:
        return list(files)
    oldest = (datetime.fromisoformat(min(dates)).date() - window).isoformat()
    return [f for f in files if (dict(f.partition)["event_date"] or oldest) >= oldest]
