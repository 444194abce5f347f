"""The dead letter queue: refused records are checked again and become events, or a person gives them up.

    events ──commit──▶ letter_fates ──commit──▶ decisions dlq/<source>

A replay commits the events first. Killed after that, the next one finds each event where its letter came from and only
gives the letter its fate, so nothing happens twice. Runs in one process, without a cluster. Does not know how records
were read, nor what the events are for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from raypipe.adapters.dlq_check import (
    Checked,
    Compared,
    Landed,
    Reasons,
    by_day,
    check_again,
    compare,
    reasons_of,
    without_rows,
)
from raypipe.adapters.ingest_keys import Rewrite, rewrite
from raypipe.adapters.lake.catalog import added_columns, events_table
from raypipe.adapters.lake.decisions import Decisions
from raypipe.adapters.lake.fates import DROP, REPLAY, UNMASK, Fates, Ruling, stream_of
from raypipe.adapters.lake.letters import DeadLetters, Fate, LetterStatus, Selection
from raypipe.adapters.lake.manifests import Manifests
from raypipe.adapters.lake.store import Store
from raypipe.config import Pipeline
from raypipe.contracts.contract import Contract
from raypipe.contracts.halt import REJECT_HALTED, manifest_of
from raypipe.contracts.source import SourceSpec
from raypipe.errors import ConfigError, GenerationMoved


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of one source's letters in a replay, or would become of them.

    Parameters
    ----------
    source
        Its name in the pipeline file.
    fates
        Of the letters that keep the contract: ACCEPTED, or DUPLICATE.
    refused
        Of those that do not: why. They stay as they are.
    rowless
        Of those that no contract can let in, as they are no row that could be read: why. They stay as they are.
    """

    source: str
    fates: Mapping[str, Fate]
    refused: Reasons
    rowless: Reasons

    def count(self, fate: Fate) -> int:
        """Return how many letters have the fate."""
        return sum(f is fate for f in self.fates.values())


class DeadLetterQueue:
    """The dead letters of a lake, and what is done about them.

    Parameters
    ----------
    store
        The lake.
    clock
        Wall time, aware UTC.
    """

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._letters = DeadLetters(store)
        self._fates = Fates(store, clock)
        self._manifests = Manifests(store)
        self._decisions = Decisions(store)

    def replay(
        self, pipeline: Pipeline, selection: Selection, *, who: str, dry_run: bool = False
    ) -> tuple[Replayed, ...]:
        """Return what became of the open letters; afterwards those that keep the present contract are events.

        A letter that was dropped is replayed only where the selection names it.

        Parameters
        ----------
        dry_run
            Whether nothing is changed.

        Raises
        ------
        ConfigError
            When the selection names a letter or a source that there is not, or a letter that was replayed.
        """
        letters = self._to_decide(selection)
        sources = pipeline.spec.sources
        asked = set(selection.sources) | (set(letters["source"]) if selection.ids else set())
        if unknown := sorted(asked - set(sources)):
            raise ConfigError(
                f"there is no source `{unknown[0]}`: the pipeline has {', '.join(sources)}; "
                "give the pipeline file whose source it is"
            )
        done = []
        for source in [s for s in sources if not asked or s in asked]:
            found = letters.filter(pl.col("source") == source)
            done.append(self._replay(found, source, pipeline.contracts[source], sources[source], who, dry_run))
        return tuple(done)

    def drop(self, selection: Selection, *, who: str, why: str) -> dict[str, int]:
        """Return how many letters of each source were given up; they stay in the lake, and are open no longer.

        Raises
        ------
        ConfigError
            When the selection names a letter that there is not, or that was replayed.
        """
        for source in sorted(set(self._letters.outlines(selection)["source"])):
            self._settle(source)
        letters = self._to_decide(selection)
        dropped = {}
        for source in sorted(set(letters["source"])):
            ids = letters.filter(pl.col("source") == source)["letter_id"].to_list()
            replay = added_columns(self._store, source).generation(stream_of(source))
            ruling, fates = Ruling(who, DROP, why), dict.fromkeys(ids, Fate.DROPPED)
            dropped[source] = len(self._fates.decide(source, fates, ruling, replay=replay, settled=0))
        return dropped

    def unmask(self, letter_id: str, source: str, *, who: str) -> None:
        """Record that somebody is about to see a letter's payload in full."""
        said = f"the payload of letter {letter_id} was shown in full"
        self._fates.record(source, Ruling(who, UNMASK, said), {"letter": letter_id})

    def _to_decide(self, selection: Selection) -> pl.DataFrame:
        """Return the open letters of the selection, and the dropped ones that it names."""
        letters = self._letters.outlines(selection)
        if not selection.ids:
            return letters.filter(pl.col("status") == LetterStatus.OPEN)
        for letter in letters.filter(pl.col("status") == LetterStatus.REPLAYED).iter_rows(named=True):
            raise ConfigError(
                f"letter {letter['letter_id']} of `{letter['source']}` was replayed already ({letter['fate']}): "
                f"`raypipe dlq show {letter['letter_id'][:12]}` says by whom; leave it out"
            )
        return letters

    def _replay(
        self, letters: pl.DataFrame, source: str, contract: Contract, spec: SourceSpec, who: str, dry_run: bool
    ) -> Replayed:
        table = events_table(self._store, source, contract)
        table.refuse_other_columns()
        rowless = without_rows(letters)
        checked = check_again(self._letters.with_payloads(letters.filter(~rowless)), source, contract)
        if dry_run:
            compared = compare(checked, table, contract, spec, self._landed(source))
            return _replayed(source, checked, compared, letters.filter(rowless))
        ruling = Ruling(who, REPLAY, f"checked again under version {contract.version} of the contract")
        compared = self._commit(source, checked, contract, spec, ruling)
        self._settle(source)
        return _replayed(source, checked, compared, letters.filter(rowless))

    def _commit(self, source: str, checked: Checked, contract: Contract, spec: SourceSpec, ruling: Ruling) -> Compared:
        """Return the fates of the letters, after their events and then the fates are committed."""
        table = events_table(self._store, source, contract)
        while True:
            turn, replay = table.turn(), table.generation(stream_of(source))
            settled = self._fates.settled(source)
            compared = compare(checked, table, contract, spec, self._landed(source))
            if compared.new or compared.streamed:
                files = [
                    *by_day(table, checked.events, compared.new, streamed=False),
                    *by_day(table, checked.events, compared.streamed, streamed=True),
                ]
                gone = [Rewrite(self._store, source, contract, f, rows) for f, rows in compared.superseded]
                files += [left for _, _, left in map(rewrite, gone) if left]
                try:
                    table.commit(
                        files,
                        app_id=stream_of(source),
                        generation=replay + 1,
                        removed=[r.file for r in gone],
                        turn=turn,
                        metadata={
                            "who": ruling.who,
                            "why": ruling.why,
                            "superseded": sum(len(r.rows) for r in gone),
                        },
                    )
                except GenerationMoved:
                    continue  # what came in between may have the same events
                # Only who found no replay unfinished knows that after his own none is.
                settled, replay = (replay + 1 if settled == replay else settled), replay + 1
            self._fates.decide(source, compared.fates, ruling, replay=replay, settled=settled)
            return compared

    def _landed(self, source: str) -> Landed:
        stream = f"ingest/{source}"
        entries = self._manifests.read(stream)
        done = added_columns(self._store, source).generation(stream)
        skipped = {manifest_of(d) for d in self._decisions.stream(stream) if d.what == REJECT_HALTED}
        filled = {e.generation: e for e in entries if e.replaces and e.generation <= done}
        backfills = tuple(e for generation, e in filled.items() if generation not in skipped)
        return Landed(frozenset(e.uri for e in entries), backfills)

    def _settle(self, source: str) -> None:
        """Give their fate to letters whose events were committed by a replay that was killed."""
        table = added_columns(self._store, source)
        replay = table.generation(stream_of(source))
        if self._fates.settled(source) >= replay:
            return
        letters = self._letters.outlines(Selection(sources=(source,)))
        letters = letters.filter(pl.col("status") != LetterStatus.REPLAYED)
        of_them = pc.field("generation").isin(pa.array(letters["generation"].unique().to_list(), pa.int64()))
        events = pl.DataFrame(table.read(["source_position", "generation"], of_them))
        mine = letters.join(events, on=["source_position", "generation"], how="semi")["letter_id"].to_list()
        words = {"who": "unknown", "why": "a replay was killed"} | (table.metadata(stream_of(source)) or {})
        ruling = Ruling(str(words["who"]), REPLAY, str(words["why"]))
        self._fates.decide(source, dict.fromkeys(mine, Fate.ACCEPTED), ruling, replay=replay, settled=replay)


def _replayed(source: str, checked: Checked, compared: Compared, rowless: pl.DataFrame) -> Replayed:
    return Replayed(source, compared.fates, {**checked.refused, **compared.refused}, reasons_of(rowless))
