"""What earlier generations looked like, in the table `profiles`, and whether a new one looks like them.

A generation is kept under its own number before its dead letters and its rows are committed, so that a run that is
killed in between keeps it once. Knows counts and tables; does not know rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter

from raypipe.adapters.ingest_unique import Merged
from raypipe.adapters.lake.catalog import PROFILES, events_table, profiles_table
from raypipe.adapters.lake.files import DataFile, WrittenFile
from raypipe.adapters.lake.store import Store
from raypipe.contracts.contract import Contract
from raypipe.contracts.gate import GateEvidence
from raypipe.contracts.generation import Generation
from raypipe.contracts.generation_profile import ColumnSummary, GenerationProfile
from raypipe.contracts.history import Arrivals, Past, compare
from raypipe.contracts.history_spec import MOST_GENERATIONS, HistorySpec
from raypipe.contracts.letter_sample import LetterSample
from raypipe.verdict import Finding, Status

_COUNTS = TypeAdapter(GateEvidence)
_DAYS = TypeAdapter(dict[date, int])
_COLUMNS = TypeAdapter(dict[str, ColumnSummary])


@dataclass(frozen=True, slots=True)
class Seen:
    """A generation beside those before it.

    Parameters
    ----------
    at
        Wall time of the look.
    columns, letters
        What its rows looked like, and some of its dead letters.
    newest_event_at
        When the latest of its events happened; None without any.
    before
        The generations before it, the oldest first.
    findings
        What the comparisons found.
    """

    at: datetime
    columns: Mapping[str, ColumnSummary]
    letters: LetterSample
    newest_event_at: datetime | None = None
    before: tuple[Generation, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def numbers(self) -> list[tuple[str, str, float | None, float | None]]:
        """Rule, status, observed value and limit of each comparison, for the record."""
        return [(f.rule, str(f.status), f.observed, f.limit) for f in self.findings]


class History:
    """The generations of all sources that were committed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._table = profiles_table(store)

    def before(self, source: str, generation: int) -> tuple[Generation, ...]:
        """Return the last of a source's generations before this one, the oldest first."""
        mine = (pc.field("source") == source) & (pc.field("generation") < generation)
        near = mine & (pc.field("generation") >= generation - MOST_GENERATIONS)
        rows = self._table.read(where=near).sort_by("generation").to_pylist()
        return tuple(
            Generation(
                number=r["generation"],
                at=r["at"],
                verdict=Status(r["verdict"]),
                counts=_COUNTS.validate_json(r["counts"]),
                days=_DAYS.validate_json(r["days"]),
                columns=_COLUMNS.validate_json(r["columns"]),
                newest_event_at=r["newest_event_at"],
            )
            for r in rows
        )

    def look(
        self,
        of: tuple[str, HistorySpec, Contract],
        generation: int,
        profiles: Sequence[GenerationProfile],
        merged: Merged | None,
        at: datetime,
    ) -> Seen:
        """Return what a generation that is not committed yet looks like beside those before it.

        Parameters
        ----------
        of
            The source: its name, the comparisons that the file asks for, and its contract.
        profiles
            Of the parts that it was staged in.
        merged
            Its files beside the table; None when another gate refuses it all, and nothing is compared.
        at
            Wall time.
        """
        source, spec, contract = of
        profile = reduce(GenerationProfile.merge, profiles, GenerationProfile())
        before, columns = self.before(source, generation), profile.summary()
        newest = columns[contract.event_at].counts.maximum if contract.event_at in columns else None
        seen = Seen(
            at, columns, profile.letters, None if newest is None else datetime.fromtimestamp(newest, UTC), before
        )
        if merged is None or spec == HistorySpec():
            return seen
        now = Arrivals(at, by_day(merged.files), {name: c.counts for name, c in columns.items()})
        past = Past(tuple(_kept(g.arrivals, merged) for g in before if g.counts.rows), self._other_rows(merged))
        return replace(seen, findings=compare(spec, contract, source, now, past))

    def _other_rows(self, merged: Merged) -> Mapping[date, int]:
        """Return the rows of the lake by day that stay beside the generation's own."""
        table = events_table(self._store, merged.source, merged.contract)
        removed, own = {f.uri for f in merged.removed}, {f.path for f in merged.files}
        stay = [f for f in table.files() if f.uri not in removed]
        return by_day([*stay, *(f for f in merged.added if f.path not in own)])

    def keep(self, source: str, stream: str, generation: Generation) -> None:
        """Commit what a generation looked like; again, it changes nothing.

        Raises
        ------
        GenerationMoved
            When another run keeps a generation of this source at the same time.
        """
        if self._table.generation(stream) >= generation.number:
            return
        row = {
            "source": source,
            "generation": generation.number,
            "at": generation.at,
            "verdict": str(generation.verdict),
            "newest_event_at": generation.newest_event_at,
            "rows": generation.counts.rows,
            "counts": _COUNTS.dump_json(generation.counts).decode(),
            "days": _DAYS.dump_json(dict(generation.days)).decode(),
            "columns": _COLUMNS.dump_json(dict(generation.columns)).decode(),
        }
        place = (("source", source), ("generation", str(generation.number)))
        file = self._table.write(pa.Table.from_pylist([row], schema=PROFILES), place)
        # Not every generation of the source has a profile: a skipped one has none.
        kept = f"profiles/{source}"
        number = self._table.generation(kept) + 1
        self._table.commit([file], app_id=kept, generation=number, positions={stream: generation.number})


def _kept(arrivals: Arrivals, merged: Merged) -> Arrivals:
    """Return what a past generation brought, less the days that are replaced: they are judged anew."""
    if not merged.replaces:
        return arrivals
    days = {day: rows for day, rows in arrivals.days.items() if not merged.replaces.hold(day.isoformat())}
    return replace(arrivals, days=days)


def by_day(files: Sequence[WrittenFile | DataFile]) -> Mapping[date, int]:
    """Return the rows of files of events by event date."""
    rows: Counter[date] = Counter()
    for file in files:
        if day := dict(file.partition).get("event_date"):
            rows[date.fromisoformat(day)] += file.rows
    return rows
