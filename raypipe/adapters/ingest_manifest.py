"""Which manifest a run executes, and what is on record of it: one left open before a new one.

A manifest names the objects; it is committed before one of them is read, so that what follows a crash is the same.
Knows manifests and decisions. Does not know rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime

from raypipe.adapters.ingest_history import Seen, by_day
from raypipe.adapters.ingest_late import Sampled
from raypipe.adapters.ingest_stage import Staged
from raypipe.adapters.ingest_staged import KeptStaging
from raypipe.adapters.ingest_unique import Merged
from raypipe.adapters.lake.catalog import dead_letters_table, events_table
from raypipe.adapters.lake.decisions import Decisions
from raypipe.adapters.lake.files import WrittenFile
from raypipe.adapters.lake.manifests import ManifestEntry, Manifests
from raypipe.adapters.lake.store import Store
from raypipe.adapters.lake.tables import LakeTable
from raypipe.contracts import halt
from raypipe.contracts.backfill import Backfill, Days
from raypipe.contracts.contract import Contract
from raypipe.contracts.gate import GateEvidence, judge
from raypipe.contracts.generation import Generation
from raypipe.contracts.halt import Course, Resolution
from raypipe.contracts.late import RULE, Late, with_late
from raypipe.contracts.source import SourceSpec
from raypipe.decision import Decision
from raypipe.errors import ConfigError, RaypipeError
from raypipe.telemetry import event
from raypipe.verdict import Verdict, worst


@dataclass(slots=True)
class Work:
    """One source: the manifest that is open, what is to be done with it, and what came of that."""

    name: str
    stream: str
    spec: SourceSpec
    contract: Contract
    manifest: Sequence[ManifestEntry] = ()
    course: Course = Course.JUDGE
    said: Decision | None = None
    staged: list[Staged] = field(default_factory=list)
    kept: KeptStaging | None = None
    merged: Merged | None = None
    read: GateEvidence = field(default_factory=GateEvidence)
    seen: Seen | None = None
    measured: Mapping[str, float | None] = field(default_factory=dict)
    late: Late | None = None
    sampled: Sampled | None = None

    @property
    def files(self) -> tuple[WrittenFile, ...]:
        """The staged event files, in the order of the manifest."""
        return self.kept.files if self.kept else tuple(f for s in self.staged for f in s.accepted)

    @property
    def generation(self) -> int:
        return self.manifest[0].generation

    @property
    def replaces(self) -> Days | None:
        """The days whose rows the manifest replaces."""
        return self.manifest[0].replaces if self.manifest else None

    @property
    def basis(self) -> dict[str, object]:
        on = halt.basis(self.generation, self.contract.digest, self.spec.halt_when)
        return {**on, "history": self.spec.history.model_dump(mode="json")}

    @property
    def evidence(self) -> GateEvidence:
        """Counts of what was read, less what turned out to be in the lake already, and what the rest measures."""
        counts = self.read.without_duplicates(self.merged.duplicates) if self.merged else self.read
        return counts.with_measured(self.measured)

    @property
    def late_numbers(self) -> dict[str, object]:
        """What a sample says about duplicates beyond the window, for the record; nothing where there is none."""
        return {RULE: self.late.plain()} if self.late else {}

    @property
    def verdict(self) -> Verdict:
        """The gates' judgement; QUARANTINED instead of HALTED where a person let the manifest in."""
        judged = judge(self.evidence, self.spec.halt_when, self.name, self.contract.table_rules)
        compared = self.seen.findings if self.seen else ()
        judged = worst((*judged.findings, *compared))
        judged = with_late(judged, self.late, self.name, self.spec.dedup.window)
        if self.course is not Course.LET_IN or self.said is None:
            return judged
        return halt.let_in(judged, self.said, (*self.measured, *(f.rule for f in compared)))

    def remembered(self, seen: Seen) -> Generation:
        """Return the generation as its successors are compared with it."""
        said, counts, days = self.verdict.status, self.evidence, by_day(self.merged.files if self.merged else ())
        return Generation(self.generation, seen.at, said, counts, days, seen.columns, seen.newest_event_at)


class OpenManifests:
    """The manifests of sources, and the decisions about them."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._manifests = Manifests(store)
        self._decisions = Decisions(store)

    def resolve(self, works: Sequence[Work], how: Resolution) -> None:
        """Record what a person decides about a halted manifest, unless it is on record.

        Raises
        ------
        ConfigError
            When there is no such halted manifest.
        """
        found = [self._unfinished(w) for w in works]
        halted = {w.name: w.said for w in found if w.course is Course.WAIT and w.said}
        streams = {w.name: self._decisions.stream(w.stream) for w in found}
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

    def opened(self, work: Work) -> Work:
        """Return the work with the manifest to execute: an unfinished one, else one of what is new, else none.

        Raises
        ------
        RaypipeError
            When nothing has ever landed for the source.
        """
        open_ = self._open(work)
        if open_.manifest:
            return open_
        past = self._manifests.read(work.stream)
        seen = {(e.uri, e.etag) for e in past}
        listed = [(o, feed.format) for feed in work.spec.objects for o in self._store.listing(feed.uri)]
        new = [(o, f) for o, f in listed if (o.uri, o.etag) not in seen]
        if not new and not past and work.spec.objects:
            raise RaypipeError(
                f"source `{work.name}` is empty: nothing has landed under "
                f"{', '.join(f.uri for f in work.spec.objects)}: land data there, or correct "
                f"`sources.{work.name}.feeds`",
                source=work.name,
            )
        last = past[-1].generation if past else 0
        return replace(work, manifest=self._manifests.commit(work.stream, last + 1, new, self._clock()) if new else ())

    def opened_backfill(self, work: Work, asked: Backfill) -> Work:
        """Return the work with the manifest that replaces the days: the one an earlier run left open, or a new one.

        Raises
        ------
        ConfigError
            When another manifest is open, or there is no object to fill from.
        """
        open_ = self._open(work)
        if open_.manifest:
            if open_.replaces == asked.days and open_.course is not Course.WAIT:
                return open_
            raise ConfigError(
                f"`{work.name}` has an open manifest, generation {open_.generation}: finish it with `raypipe ingest`, "
                "or decide on it if it is halted, then backfill"
            )
        format_ = work.spec.objects[0].format if work.spec.objects else "parquet"
        objects = [(o, format_) for o in self._store.listing(asked.uri)]
        if not objects:
            raise ConfigError(f"there is no object under {asked.uri}: nothing to fill {asked.days} from")
        past = self._manifests.read(work.stream)
        last = past[-1].generation if past else 0
        entries = self._manifests.commit(work.stream, last + 1, objects, self._clock(), asked.days)
        made = replace(work, manifest=entries)
        self.record(made, halt.BACKFILL, f"{asked.days} from {asked.uri}: {asked.why}", who=asked.who)
        return made

    def _unfinished(self, work: Work) -> Work:
        """Return the work with the manifest that an earlier run left open, if there is one."""
        past = self._manifests.read(work.stream)
        last = past[-1].generation if past else 0
        if events_table(self._store, work.name, work.contract).generation(work.stream) >= last:
            return work
        opened = replace(work, manifest=tuple(e for e in past if e.generation == last))
        opened.course, opened.said = halt.course(self._decisions.stream(work.stream), opened.basis)
        return opened

    def _open(self, work: Work) -> Work:
        """Return the same, once what was decided or left unsaid about it is done."""
        events = events_table(self._store, work.name, work.contract)
        events.refuse_other_columns()
        open_ = self._unfinished(work)
        match open_.course if open_.manifest else None:
            case Course.SKIP:
                for table in (dead_letters_table(self._store), events):
                    if table.generation(work.stream) < open_.generation:
                        table.commit([], app_id=work.stream, generation=open_.generation)
                event("ingest", f"{work.name}: manifest {open_.generation} is skipped, as was decided")
                return work
            case Course.JUDGE | Course.LET_IN:
                said = "which was let in" if open_.course is Course.LET_IN else "which an earlier run left unfinished"
                event("ingest", f"{work.name}: going on with manifest {open_.generation}, {said}")
            case None:
                self._record_committed(work, events)
        return open_

    def record(self, work: Work, what: str, why: str, *, who: str = "ingest") -> None:
        """Record a decision about the work's manifest, with its counts; none about one whose end is on record."""
        past = self._decisions.stream(work.stream)
        if halt.finished(past, work.generation):
            return  # another run found the generation committed, and said so first
        self._decisions.record(
            past[-1] if past else None,
            stream=work.stream,
            at=self._clock(),
            who=who,
            what=what,
            why=why,
            evidence={
                **work.basis,
                **plain(work.evidence),
                "compared": work.seen.numbers if work.seen else (),
                **work.late_numbers,
            },
        )

    def _record_committed(self, work: Work, events: LakeTable) -> None:
        """Record the decision of a generation whose run was killed between its commit and its decision."""
        past = self._manifests.read(work.stream)
        generation = past[-1].generation if past else 0
        if not generation or halt.finished(self._decisions.stream(work.stream), generation):
            return
        entries = [e for e in past if e.generation == generation]
        metadata = events.metadata(work.stream) or {}
        late = metadata.get(RULE)
        committed = replace(work, manifest=entries, read=halt.counts_of(_counts(metadata)))
        committed.late = Late.of(late) if isinstance(late, dict) else None
        self.record(committed, halt.ACCEPT, "committed by a run that ended before it said so")


def plain(counts: GateEvidence) -> dict[str, object]:
    """Return counts as they look after a trip through JSON."""
    dictionary: dict[str, object] = json.loads(json.dumps(asdict(counts)))
    return dictionary


def _counts(metadata: Mapping[str, object]) -> Mapping[str, object]:
    kept = metadata["counts"]
    if not isinstance(kept, dict):
        raise TypeError(f"the commit's counts are {kept!r}, expected a mapping")
    return kept
