"""Objects of the landing zone become rows of the lake, each exactly once, on Ray.

Per source: the manifest is committed; its objects are staged (read, checked, split: files that no reader sees);
keys alone are compared to find duplicates; only files that hold duplicates are written again; what rules on the table
look at is measured; the gates judge, also by what earlier generations looked like; then the dead letters, the profile
and the events are committed under the manifest's generation, the decision is recorded, and a report is left. A manifest
that a gate halted waits, unread, for a person (`contracts/halt.py`). All sources share the runs of tasks. Does not know
what the rows are for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial, reduce

import pyarrow as pa

from raypipe.adapters.ingest_history import History
from raypipe.adapters.ingest_keys import searched_from
from raypipe.adapters.ingest_late import Asked, check_late, is_sampled, keep_sample
from raypipe.adapters.ingest_manifest import OpenManifests, Work, plain
from raypipe.adapters.ingest_report import newest_report, write_report
from raypipe.adapters.ingest_rules import measure_generations
from raypipe.adapters.ingest_stage import Stage, stage, stagings
from raypipe.adapters.ingest_staged import as_metadata, kept_staging
from raypipe.adapters.ingest_unique import Merged, merge_with_table
from raypipe.adapters.lake.catalog import dead_letters_table, event_schema, events_table
from raypipe.adapters.lake.store import Store
from raypipe.adapters.lake.tables import TURN
from raypipe.adapters.ray_map import keep, map_tasks
from raypipe.config import Pipeline
from raypipe.contracts import halt
from raypipe.contracts.backfill import Backfill
from raypipe.contracts.gate import GateEvidence
from raypipe.contracts.halt import Course, Resolution
from raypipe.errors import ConfigError, GenerationMoved, RaypipeError
from raypipe.ports import Ingested
from raypipe.reports.ingest import ingest_report
from raypipe.telemetry import event
from raypipe.verdict import Finding, Status, Verdict

_TURNS = 20  # a stream commits about every second, and a comparison with its newest files takes less


class RayIngestor:
    """Ingestion of a pipeline's sources on the Ray cluster that the process is connected to."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._open = OpenManifests(store, clock)
        self._history = History(store)

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
            self._open.resolve(_works(pipeline), resolution)
        return self._execute([self._open.opened(w) for w in _works(pipeline)], pipeline)

    def backfill(self, pipeline: Pipeline, asked: Backfill) -> dict[str, Ingested]:
        """Return what became of the source; afterwards the days hold the rows of the given objects, and no others.

        Readers see the old rows of all the days or the new ones. Repeated, it gives the same.

        Raises
        ------
        ConfigError
            When there is no such source or object, or a manifest of the source is open.
        """
        return self._execute([self._open.opened_backfill(_filled(_works(pipeline), asked), asked)], pipeline)

    def _execute(self, works: Sequence[Work], pipeline: Pipeline) -> dict[str, Ingested]:
        read = [w for w in works if w.manifest and w.course is not Course.WAIT]
        self._read_all(read)
        entering = [w for w in read if w.verdict.lets_pass]
        for work in entering:
            work.merged = Merged(work.name, work.contract, list(work.files), work.spec.dedup.window, work.replaces)
            for staged in work.staged:
                work.merged.keys.update(staged.keys)
        merge_with_table(self._store, [w.merged for w in entering if w.merged])
        merged = {w.name: w.merged for w in entering if w.merged}
        measured = measure_generations(self._store, merged, pipeline.contracts, self._clock())
        for work in entering:
            work.measured = measured.get(work.name, {})
        for work in (w for w in read if not w.kept):
            profiles = [s.profile for s in work.staged]
            source = work.name, work.spec.history, work.contract
            work.seen = self._history.look(source, work.generation, profiles, work.merged, self._clock())
        late = check_late(self._store, [a for w in entering if (a := _asked(w))])
        for work in entering:
            work.late, work.sampled = late.get(work.name, (None, None))
        return {w.name: self._conclude(w) for w in works}

    def _read_all(self, works: Sequence[Work]) -> None:
        """Stage the objects, unless a run that was killed after its dead letters has: then that reading holds."""
        letters = dead_letters_table(self._store)
        for work in works:
            work.kept = kept_staging(letters, work.stream, work.generation, event_schema(work.contract))
        self._stage_all([w for w in works if not w.kept])
        for work in works:
            parts = [work.kept.evidence] if work.kept else [s.evidence for s in work.staged]
            work.read = reduce(GateEvidence.merge, parts, GateEvidence())

    def _stage_all(self, works: Sequence[Work]) -> None:
        tasks = [task for w in works for task in self._stagings(w)]
        by_name = {w.name: w for w in works}
        for done, staged in enumerate(map_tasks(stage, tasks), start=1):
            by_name[staged.source].staged.append(staged)
            if done % max(1, len(tasks) // 4) == 0 or done == len(tasks):
                rows = sum(s.evidence.rows for w in works for s in w.staged)
                event("ingest", f"read and checked {rows:,} rows, {done} of {len(tasks)} tasks")
        for work in works:
            work.staged.sort(key=lambda s: s.first_position)

    def _stagings(self, work: Work) -> list[Stage]:
        sampled = is_sampled(work.spec, work.contract)
        return stagings(self._store, work.name, work.contract, work.manifest, keep=keep, sampled=sampled)

    def _conclude(self, work: Work) -> Ingested:
        table = events_table(self._store, work.name, work.contract)
        if not work.manifest:
            snapshot = table.snapshot()
            said = f"nothing new has landed for `{work.name}`"
            if not work.spec.objects:
                said = f"`{work.name}` is filled by `raypipe stream`: its table has {snapshot.rows:,} rows"
            event("ingest", said)
            verdict = Verdict(Status.NOT_APPLICABLE, (Finding("new_rows", Status.NOT_APPLICABLE, said),))
            newest = newest_report(self._store, work.name, table.generation(work.stream))
            return Ingested(work.name, snapshot, verdict, GateEvidence(), newest)
        if work.course is Course.WAIT and work.said:
            verdict = halt.waiting(work.name, work.said)
            event("ingest", f"{work.name}: generation {work.generation} is still halted and was not read")
            counts = halt.counts_of(json.loads(work.said.evidence))
            report = newest_report(self._store, work.name, work.generation)
            return Ingested(work.name, table.snapshot(), verdict, counts, report)
        verdict = work.verdict
        # Objects without a row are done with, though the run stops: kept open they would block all that come later.
        if verdict.status is not Status.HALTED:
            self._commit(work)
        self._open.record(work, halt.HALT if verdict.status is Status.HALTED else halt.ACCEPT, verdict.sentence())
        counts = work.evidence
        event(
            "ingest",
            f"{work.name}: {counts.rows:,} rows in = {counts.accepted:,} accepted + {counts.dead_letters:,} dead "
            f"letters + {counts.duplicates:,} duplicates, {verdict.status}",
        )
        if verdict.status is Status.HALTED:
            verdict = replace(verdict, findings=(*verdict.findings, halt.ways_out(work.name, work.generation)))
        return Ingested(work.name, table.snapshot(), verdict, counts, self._report(work, verdict))

    def _report(self, work: Work, verdict: Verdict) -> str:
        if (seen := work.seen) is None:
            return ""
        past = seen.letters, seen.before
        make = partial(ingest_report, work.name, work.contract, work.remembered(seen), verdict, *past)
        return write_report(self._store, work.name, work.generation, make)

    def _commit(self, work: Work) -> None:
        counts = work.evidence
        if counts.rows != counts.accepted + counts.dead_letters + counts.duplicates:
            raise RaypipeError(
                f"the rows of `{work.name}` do not add up: {counts.rows} in, {counts.accepted} accepted, "
                f"{counts.dead_letters} dead letters, {counts.duplicates} duplicates: nothing was committed; "
                "please report this",
                source=work.name,
            )
        stream, generation = work.stream, work.generation
        if work.seen is not None:
            self._history.keep(work.name, stream, work.remembered(work.seen))
        if not work.kept:
            refused = [s.refused for s in work.staged if s.refused is not None]
            staged = as_metadata(event_schema(work.contract), work.files, work.read)
            dead_letters_table(self._store).commit(refused, app_id=stream, generation=generation, metadata=staged)
        merged = work.merged or Merged(work.name, work.contract, [], None)  # no row was read
        self._commit_events(work, merged)
        if work.sampled:
            keep_sample(self._store, work.name, stream, generation, work.sampled)
        if merged.superseded:
            event("ingest", f"{work.name}: {merged.superseded:,} streamed rows gave way to rows of objects")
        if work.replaces:
            event("ingest", f"{work.name}: {merged.replaced:,} rows of {work.replaces} gave way")

    def _commit_events(self, work: Work, merged: Merged) -> None:
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
                    metadata={
                        "counts": plain(work.evidence),
                        "superseded": merged.superseded,
                        "replaced": merged.replaced,
                        **work.late_numbers,
                    },
                )
                return
            except GenerationMoved as error:
                if error.stream != TURN or attempt == _TURNS - 1:
                    raise
                event("ingest", f"{work.name}: another writer of {events.name} came first; comparing with its rows")


def _works(pipeline: Pipeline) -> list[Work]:
    return [Work(n, f"ingest/{n}", spec, pipeline.contracts[n]) for n, spec in pipeline.spec.sources.items()]


def _asked(work: Work) -> Asked | None:
    """Return what is to be known about duplicates beyond the window; None where there can be none, or none enters."""
    samples = [s.sample for s in work.staged if s.sample is not None]
    days = [dict(f.partition)["event_date"] for s in work.staged for f in s.accepted]
    since = searched_from(work.spec.dedup.window, days)
    if not samples or since is None or work.merged is None or not work.verdict.lets_pass:
        return None
    accepted = sum(f.rows for f in work.merged.files)
    sample = pa.concat_tables(samples)
    return Asked(work.name, work.contract, work.generation, since, accepted, sample, work.replaces)


def _filled(works: Sequence[Work], asked: Backfill) -> Work:
    """Return the work that a backfill is about."""
    names = [w.name for w in works]
    if asked.source is None and len(works) > 1:
        raise ConfigError(f"the pipeline has several sources ({', '.join(names)}): say which with --source")
    if asked.source not in (None, *names):
        raise ConfigError(f"there is no source `{asked.source}`: the pipeline has {', '.join(names)}")
    return next(w for w in works if asked.source in (None, w.name))
