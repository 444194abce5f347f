"""The tables that a stream writes: dead letters, then events, each under a generation and with where to go on.

What is committed is decided by the events alone: their commit carries the generation of the stream and the positions,
and of two streams of one source one loses there. Letters are committed first, and carry the same positions; who was
killed in between finds which are there, and neither writes them again nor lets their rows become events.
Does not know messages.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.adapters.ingest_keys import first_of_each, id_hashes
from raypipe.adapters.lake.catalog import dead_letters_table, events_table
from raypipe.adapters.lake.files import DataFile, WrittenFile
from raypipe.adapters.lake.store import Store
from raypipe.adapters.stream_batch import Batch
from raypipe.adapters.stream_compact import Merger
from raypipe.adapters.stream_index import EventIndex
from raypipe.contracts.contract import Contract
from raypipe.contracts.gate import GateEvidence
from raypipe.contracts.halt import counts_of
from raypipe.contracts.source import SourceSpec
from raypipe.errors import GenerationMoved

# Each further attempt means that another writer of the table came between.
_ATTEMPTS = 20
_READERS = 8


class StreamTables:
    """The tables of one stream.

    Parameters
    ----------
    who
        Names this process, unlike any other: it is in every commit.
    """

    def __init__(self, store: Store, source: str, spec: SourceSpec, contract: Contract, who: str) -> None:
        self._store, self._who, self._source = store, who, source
        self._app, self._compact_app = f"stream/{source}", f"compact/{source}"
        self._letters_of = f"stream/{source}/events"
        self._events = events_table(store, source, contract).kept_open()
        self._letters = dead_letters_table(store).kept_open()
        self._merger = Merger(events_table(store, source, contract))
        same_date = contract.event_at in contract.key
        self.index = EventIndex(self._ids, same_date=same_date, window=spec.dedup.window)
        self.generation = 0
        self.ahead: set[str] = set()
        """Places of letters that are committed while the events of their range are not."""
        self._positions: dict[str, int] = {}
        self._letters_positions: dict[str, int] = {}
        self._letters_count = 0
        self._ahead_since = 0
        self._files: dict[str, DataFile] = {}
        self._version = -2

    def open(self, names: Sequence[str]) -> dict[str, int]:
        """Return where to go on, by the names of the feeds' numbers.

        Raises
        ------
        ContractError
            When the table has other columns than the contract.
        """
        self._events.refuse_other_columns()
        found = self._events.standing([self._app, *names])
        self.generation = found.numbers[self._app]
        self._positions = {name: found.numbers[name] for name in names}
        self._look_for_letters(names)
        self._follow(found.version)
        return dict(self._positions)

    def commit(self, batch: Batch) -> GateEvidence:
        """Return the counts of a batch; afterwards its letters and its new events are visible.

        Raises
        ------
        GenerationMoved
            When another stream of this source committed.
        """
        generation = self.generation + 1
        self._commit_letters(batch, generation)
        counts = self._commit_events(batch, generation)
        self.generation = generation
        self._positions |= batch.positions
        if not _further(self._letters_positions, self._positions):
            self.ahead.clear()
        elif self.ahead:
            self.ahead.difference_update(batch.places.to_pylist())
        return counts

    @property
    def merging(self) -> bool:
        """Whether small files are being merged, or wait to be committed as few."""
        return self._merger.busy

    def compact(self, *, wait: bool = False) -> int:
        """Begin to merge small files, or commit what was merged since.

        Returns how many small files became few: 0 where a merge was only begun or goes on, and where a file of it has
        left the table or another writer came between, for the next time.

        Parameters
        ----------
        wait
            Whether to wait for the merge.
        """
        if not self._merger.busy:
            self._follow(self._events.standing().version)
            self._merger.begin(list(self._files.values()))
            if not wait:
                return 0
        merge = self._merger.take(wait=wait)
        if merge is None:
            return 0
        found = self._events.standing([self._compact_app])
        self._follow(found.version)
        if any(f.uri not in self._files for f in merge.gone):
            return 0
        try:
            version = self._events.commit(
                merge.files,
                app_id=self._compact_app,
                generation=found.numbers[self._compact_app] + 1,
                removed=merge.gone,
                turn=found.turn,
                data_change=False,
                metadata={"by": self._who},
            )
        except GenerationMoved:
            return 0
        self._took(version, merge.files, merge.gone)
        return len(merge.gone)

    def close(self) -> None:
        """Let go of the thread that merges."""
        self._merger.close()

    def _commit_letters(self, batch: Batch, generation: int) -> None:
        for _ in range(_ATTEMPTS):
            refused = self._unknown(batch.split.refused)
            if not refused.num_rows:
                return
            written = self._letters.write(refused, streamed=True)
            # Never back behind the letters of a stream that read further and brought no events.
            positions = self._letters_positions | _further(batch.positions, self._letters_positions)
            since = self._ahead_since if self.ahead else generation
            try:
                self._letters.commit(
                    [written],
                    app_id=self._app,
                    generation=self._letters_count + 1,
                    positions={**positions, self._letters_of: since},
                    metadata={"by": self._who},
                )
            except GenerationMoved:
                # Letters that we do not know: ours, if an answer was lost, or another stream's that lost the events.
                if self._events.generation(self._app) != self.generation:
                    raise self._lost(generation) from None
                self._look_for_letters({*self._positions, *batch.positions})
                continue
            self._letters_count += 1
            self._letters_positions, self._ahead_since = positions, since
            self.ahead.update(str(p) for p in refused["source_position"].to_pylist())
            return
        raise self._lost(generation)

    def _commit_events(self, batch: Batch, generation: int) -> GateEvidence:
        rows = _once(self._unknown(batch.split.accepted))
        files: list[WrittenFile] = []
        kept: pa.Table | None = None
        for _ in range(_ATTEMPTS):
            found = self._events.standing()
            self._follow(found.version)
            present = {_day(f) for f in self._files.values()}
            days = _days(rows)
            known = self.index.known(rows["event_id"], days, present)
            if kept is None or kept.num_rows != rows.num_rows - int(known.sum()):
                kept = rows.filter(pa.array(~known))
                files = list(self._by_day(kept))
            counts = self._counts(batch, kept.num_rows)
            try:
                version = self._events.commit(
                    files,
                    app_id=self._app,
                    generation=generation,
                    turn=found.turn,
                    positions=batch.positions,
                    metadata={"counts": json.loads(json.dumps(asdict(counts))), "by": self._who},
                )
            except GenerationMoved as error:
                if error.stream != self._app:
                    continue  # not us, but the table: compare with what came, and try again
                return self._ours(generation)
            self._took(version, files, [])
            self.index.add(kept["event_id"], _days(kept))
            return counts
        raise self._lost(generation)

    def _counts(self, batch: Batch, accepted: int) -> GateEvidence:
        found = batch.split.evidence
        letters = found.dead_letters
        if self.ahead:
            # Under another contract than that of the letters, a row may be refused that is an event now.
            good = set(batch.split.accepted["source_position"].to_pylist())
            letters += len(self.ahead & good)
        return replace(found, accepted=accepted, dead_letters=letters, duplicates=found.rows - letters - accepted)

    def _ours(self, generation: int) -> GateEvidence:
        """Return the counts of a commit whose answer was lost; raises where it was another's."""
        said = self._events.metadata(self._app) or {}
        if said.get("by") != self._who or self._events.generation(self._app) != generation:
            raise self._lost(generation)
        counts = said["counts"]
        assert isinstance(counts, dict)
        return counts_of(counts)

    def _lost(self, generation: int) -> GenerationMoved:
        found = self._events.generation(self._app)
        said = self._events.metadata(self._app) or {}
        return GenerationMoved(
            f"generation moved: expected {generation - 1}, found {found} of {self._app}: {said.get('by', 'another')} "
            f"streams `{self._source}` too and committed first; let one of the two run, both would only compete",
            stream=self._app,
            expected=generation - 1,
            found=found,
        )

    def _look_for_letters(self, names: Collection[str]) -> None:
        """Find the letters that were committed by who then died, or lost the events to another stream."""
        found = self._letters.standing([self._app, self._letters_of, *names])
        self._letters_count = found.numbers[self._app]
        self._letters_positions = {name: found.numbers[name] for name in names}
        if _further(self._letters_positions, self._positions):
            self._ahead_since = found.numbers[self._letters_of]
            mine = (pc.field("source") == self._source) & (pc.field("generation") >= self._ahead_since)
            places = self._letters.read(["source_position"], mine)["source_position"].to_pylist()
            self.ahead.update(str(p) for p in places)

    def _unknown(self, rows: pa.Table) -> pa.Table:
        if not self.ahead:
            return rows
        there = pc.is_in(rows["source_position"], value_set=pa.array(sorted(self.ahead), pa.string()))
        return rows.filter(pc.invert(there))

    def _by_day(self, rows: pa.Table) -> Iterator[WrittenFile]:
        days = rows["event_date"]
        for day in pc.unique(days).sort():
            yield self._events.write(rows.filter(pc.equal(days, day)), (("event_date", str(day)),), streamed=True)

    def _follow(self, version: int) -> None:
        """Let the index know what other writers have done up to this version at least."""
        if version == self._version:
            return
        now = {f.uri: f for f in self._events.files()} if version >= 0 else {}
        changed = {_day(f) for uri, f in self._files.items() if uri not in now}
        for day in changed:
            self.index.forget(day)
        added = [f for uri, f in now.items() if uri not in self._files]
        self._files, self._version = now, version
        for file in added:
            if _day(file) not in changed and self.index.holds(_day(file)):
                self.index.add_file(_day(file), self._read_ids(file.uri))

    def _took(self, version: int, added: Sequence[WrittenFile], gone: Sequence[DataFile]) -> None:
        """Remember a commit of ours, so that the files are not listed for it; they are where others came between."""
        for file in added:
            uri = f"{self._events.uri}/{file.path}"
            self._files[uri] = DataFile(uri, file.rows, file.size_bytes, file.partition)
        for left in gone:
            self._files.pop(left.uri, None)
        if version == max(self._version, -1) + 1:
            self._version = version

    def _ids(self, day: str | None) -> Iterator[Any]:
        uris = [f.uri for f in self._files.values() if day in (None, _day(f))]
        with ThreadPoolExecutor(_READERS) as pool:
            yield from pool.map(self._read_ids, uris)

    def _read_ids(self, uri: str) -> Any:
        return self._store.read_parquet(uri, ["event_id"])["event_id"]


def _once(rows: pa.Table) -> pa.Table:
    """Return the rows whose event no row before has."""
    first = first_of_each(rows["event_id"], id_hashes(rows["event_id"]))
    return rows if first is None else rows.filter(pa.array(first))


def _day(file: DataFile) -> str:
    return dict(file.partition).get("event_date") or ""


def _days(rows: pa.Table) -> Any:
    return rows["event_date"].to_numpy()


def _further(those: Mapping[str, int], these: Mapping[str, int]) -> dict[str, int]:
    """Return those positions that lie beyond these; `a#0`, `a#1` are one number, the highest part first."""
    places: dict[str, list[str]] = {}
    for name in sorted(those):
        places.setdefault(name.partition("#")[0], []).append(name)
    further = [n for n in places.values() if [those[part] for part in n] > [these.get(part, 0) for part in n]]
    return {part: those[part] for names in further for part in names}
