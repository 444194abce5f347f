"""Objects of the landing zone become rows of the lake, each exactly once, on Ray.

Per source: the manifest is committed; its objects are staged (read, checked, split: files that no reader sees);
keys alone are compared to find duplicates; only files that hold duplicates are written again; the gate judges; then
the dead letters and the events are committed under the manifest's generation, and the decision is recorded. A manifest
that the gate halted waits, unread, for a person (`contracts/halt.py`). All sources share the runs of tasks. Does not
know what the rows are for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import reduce

from raypipe.adapters.ingest_stage import Staged, stage, stagings
from raypipe.adapters.ingest_unique import Merged, merge_with_table
from raypipe.adapters.lake.catalog import dead_letters_table, events_table
from raypipe.adapters.lake.decisions import Decisions
from raypipe.adapters.lake.manifests import ManifestEntry, Manifests
from raypipe.adapters.lake.store import Store
from raypipe.adapters.lake.tables import TURN, LakeTable
from raypipe.adapters.ray_map import map_tasks
from raypipe.config import Pipeline
from raypipe.contracts import halt
from raypipe.contracts.contract import Contract
from raypipe.contracts.gate import GateEvidence, judge
from raypipe.contracts.halt import Course, Resolution
from raypipe.contracts.source import SourceSpec
from raypipe.decision import Decision
from raypipe.errors import GenerationMoved, RaypipeError
from raypipe.ports import Ingested
from raypipe.telemetry import event
from raypipe.verdict import Finding, Status, Verdict

_TURNS = 20  # a stream commits about every second, and a comparison with its newest files takes less


@dataclass(slots=True)
class _Work:
    """One source: the manifest that is open, what is to be done with it, and what came of that."""

    name: str
    stream: str
    spec: SourceSpec
    contract: Contract
    manifest: Sequence[ManifestEntry] = ()
    course: Course = Course.JUDGE
    said: Decision | None = None
    staged: list[Staged] = field(default_factory=list)
    merged: Merged | None = None
    read: GateEvidence = field(default_factory=GateEvidence)

    @property
    def generation(self) -> int:
        return self.manifest[0].generation

    @property
    def basis(self) -> dict[str, object]:
        return halt.basis(self.generation, self.contract.digest, self.spec.halt_when)

    @property
    def evidence(self) -> GateEvidence:
        """Counts of what was read, less what turned out to be in the lake already."""
        return self.read.without_duplicates(self.merged.duplicates) if self.merged else self.read

    @property
    def verdict(self) -> Verdict:
        """The gate's judgement; QUARANTINED instead of HALTED where a person let the manifest in."""
        judged = judge(self.evidence, self.spec.halt_when, self.name)
        return halt.let_in(judged, self.said) if self.course is Course.LET_IN and self.said else judged


class RayIngestor:
    """Ingestion of a pipeline's sources on the Ray cluster that the process is connected to."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._manifests = Manifests(store)
        self._decisions = Decisions(store)

    def ingest(self, pipeline: Pipeline, resolution: Resolution | None = None) -> dict[str, Ingested]:
        """Return what became of each source; afterwards everything that had landed is in the lake, or refused.

        Parameters
        ----------
        resolution
            What a person decides about a halted manifest; recorded before anything is read.

        Raises
        ------
        ConfigError
            When there is no such halted manifest.
        Unavailable, AccessDenied
            When the store does not answer or refuses; nothing is lost, and the next run continues.
        GenerationMoved
            When another run ingests the same source, or another person decided, at the same time.
        """
        if resolution:
            self._resolve([self._unfinished(w) for w in _works(pipeline)], resolution)
        works = [self._opened(w) for w in _works(pipeline)]
        read = [w for w in works if w.manifest and w.course is not Course.WAIT]
        self._stage_all(read)
        for work in read:
            work.read = reduce(GateEvidence.merge, (s.evidence for s in work.staged), GateEvidence())
        entering = [w for w in read if w.verdict.lets_pass]
        for work in entering:
            files = [f for s in work.staged for f in s.accepted]
            work.merged = Merged(work.name, work.contract, files, work.spec.dedup.window)
        merge_with_table(self._store, [w.merged for w in entering if w.merged])
        return {w.name: self._conclude(w) for w in works}

    def _resolve(self, works: Sequence[_Work], how: Resolution) -> None:
        halted = {w.name: w.said for w in works if w.course is Course.WAIT and w.said}
        streams = {w.name: self._decisions.stream(w.stream) for w in works}
        source = halt.chosen(how, halted, streams)
        if (last := halted.get(source)) is None:
            return  # it was decided so before, by a run that was killed since
        self._decisions.record(
            last,
            stream=last.stream,
            at=self._clock(),
            who=how.who,
            what=how.what,
            why=how.why,
            evidence=json.loads(last.evidence),
        )
        event("ingest", f"{source}: generation {how.generation} is decided: {how.what}, {how.why}")

    def _unfinished(self, work: _Work) -> _Work:
        """Return the work with the manifest that an earlier run left open, if there is one."""
        past = self._manifests.read(work.stream)
        last = past[-1].generation if past else 0
        if events_table(self._store, work.name, work.contract).generation(work.stream) >= last:
            return work
        opened = replace(work, manifest=tuple(e for e in past if e.generation == last))
        opened.course, opened.said = halt.course(self._decisions.stream(work.stream), opened.basis)
        return opened

    def _opened(self, work: _Work) -> _Work:
        """Return the work with the manifest to execute: an unfinished one before a new one."""
        events = events_table(self._store, work.name, work.contract)
        events.refuse_other_columns()
        open_ = self._unfinished(work)
        match open_.course if open_.manifest else None:
            case Course.SKIP:
                self._commit(open_)
                event("ingest", f"{work.name}: manifest {open_.generation} is skipped, as was decided")
            case Course.WAIT:
                return open_
            case Course.JUDGE | Course.LET_IN:
                said = "which was let in" if open_.course is Course.LET_IN else "which an earlier run left unfinished"
                event("ingest", f"{work.name}: going on with manifest {open_.generation}, {said}")
                return open_
        past = self._manifests.read(work.stream)
        last = past[-1].generation if past else 0
        if last:
            self._record_committed(work, last, events)
        seen = {(e.uri, e.etag) for e in past}
        listed = [(o, feed.format) for feed in work.spec.feeds for o in self._store.listing(feed.uri)]
        new = [(o, f) for o, f in listed if (o.uri, o.etag) not in seen]
        if not new and not past:
            raise RaypipeError(
                f"source `{work.name}` is empty: nothing has landed under "
                f"{', '.join(f.uri for f in work.spec.feeds)}: land data there, or correct `sources.{work.name}.feeds`",
                source=work.name,
            )
        return replace(work, manifest=self._manifests.commit(work.stream, last + 1, new, self._clock()) if new else ())

    def _stage_all(self, works: Sequence[_Work]) -> None:
        tasks = [task for w in works for task in stagings(self._store, w.name, w.contract, w.manifest)]
        by_name = {w.name: w for w in works}
        for done, staged in enumerate(map_tasks(stage, tasks), start=1):
            by_name[staged.source].staged.append(staged)
            if done % max(1, len(tasks) // 4) == 0 or done == len(tasks):
                rows = sum(s.evidence.rows for w in works for s in w.staged)
                event("ingest", f"read and checked {rows:,} rows, {done} of {len(tasks)} tasks")
        for work in works:
            work.staged.sort(key=lambda s: s.first_position)

    def _conclude(self, work: _Work) -> Ingested:
        table = events_table(self._store, work.name, work.contract)
        if not work.manifest:
            nothing = Finding("new_rows", Status.NOT_APPLICABLE, f"nothing new has landed for `{work.name}`")
            verdict = Verdict(Status.NOT_APPLICABLE, (nothing,))
            event("ingest", f"{work.name}: nothing new")
            return Ingested(work.name, table.snapshot(), verdict, GateEvidence())
        if work.course is Course.WAIT and work.said:
            verdict = halt.waiting(work.name, work.said)
            event("ingest", f"{work.name}: generation {work.generation} is still halted and was not read")
            return Ingested(work.name, table.snapshot(), verdict, halt.counts_of(json.loads(work.said.evidence)))
        verdict = work.verdict
        # Objects without a row are done with, though the run stops: kept open they would block all that come later.
        if verdict.status is not Status.HALTED:
            self._commit(work)
        self._record(work, halt.HALT if verdict.status is Status.HALTED else halt.ACCEPT, verdict.sentence())
        counts = work.evidence
        event(
            "ingest",
            f"{work.name}: {counts.rows:,} rows in = {counts.accepted:,} accepted + {counts.dead_letters:,} dead "
            f"letters + {counts.duplicates:,} duplicates, {verdict.status}",
        )
        if verdict.status is Status.HALTED:
            verdict = replace(verdict, findings=(*verdict.findings, halt.ways_out(work.name, work.generation)))
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
        stream, generation = work.stream, work.generation
        letters = dead_letters_table(self._store)
        if letters.generation(stream) < generation:
            refused = [s.refused for s in work.staged if s.refused is not None]
            letters.commit(refused, app_id=stream, generation=generation)
        merged = work.merged or Merged(work.name, work.contract, [], None)
        self._commit_events(work, merged)
        if merged.superseded:
            event("ingest", f"{work.name}: {merged.superseded:,} streamed rows gave way to rows of objects")

    def _commit_events(self, work: _Work, merged: Merged) -> None:
        """Commit; as often as another writer of the table came first, compare with what it brought and try again."""
        events = events_table(self._store, work.name, work.contract)
        for attempt in range(_TURNS):
            if attempt or work.merged is None:
                merge_with_table(self._store, [merged])
            try:
                events.commit(
                    merged.added,
                    app_id=work.stream,
                    generation=work.generation,
                    removed=merged.removed,
                    turn=merged.turn,
                    metadata={"counts": _plain(work.evidence), "superseded": merged.superseded},
                )
                return
            except GenerationMoved as error:
                if error.stream != TURN or attempt == _TURNS - 1:
                    raise
                event("ingest", f"{work.name}: another writer of {events.name} came first; comparing with its rows")

    def _record(self, work: _Work, what: str, why: str) -> None:
        past = self._decisions.stream(work.stream)
        if halt.finished(past, work.generation):
            return  # another run found the generation committed, and said so first
        self._decisions.record(
            past[-1] if past else None,
            stream=work.stream,
            at=self._clock(),
            who="ingest",
            what=what,
            why=why,
            evidence={**work.basis, **_plain(work.evidence)},
        )

    def _record_committed(self, work: _Work, generation: int, events: LakeTable) -> None:
        """Record the decision of a generation whose run was killed between its commit and its decision."""
        if halt.finished(self._decisions.stream(work.stream), generation):
            return
        entries = [e for e in self._manifests.read(work.stream) if e.generation == generation]
        counts = halt.counts_of(_counts(events.metadata(work.stream) or {}))
        committed = replace(work, manifest=entries, read=counts)
        self._record(committed, halt.ACCEPT, "committed by a run that ended before it said so")


def _plain(counts: GateEvidence) -> dict[str, object]:
    """Return counts as they look after a trip through JSON."""
    plain: dict[str, object] = json.loads(json.dumps(asdict(counts)))
    return plain


def _counts(metadata: Mapping[str, object]) -> Mapping[str, object]:
    kept = metadata["counts"]
    if not isinstance(kept, dict):
        raise TypeError(f"the commit's counts are {kept!r}, expected a mapping")
    return kept


def _works(pipeline: Pipeline) -> list[_Work]:
    return [_Work(n, f"ingest/{n}", spec, pipeline.contracts[n]) for n, spec in pipeline.spec.sources.items()]
