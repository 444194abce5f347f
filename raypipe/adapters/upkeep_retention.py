"""Rows that are older than their contract keeps them leave the lake, each time on record.

Events leave by their date, dead letters by when they were refused: their event's time may be what could not be read,
and a record is refused after it happened. The commit carries all that its decision says, so whoever comes after a
crash says what the one before could not. Does not know which old versions still have the rows; a vacuum does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.adapters.lake.catalog import SAMPLE_APP, TIMESTAMP, dead_letters_table, events_table, key_samples_table
from raypipe.adapters.lake.decisions import Decisions, retention_of
from raypipe.adapters.lake.files import DataFile, WrittenFile
from raypipe.adapters.lake.store import Store
from raypipe.adapters.lake.tables import LakeTable
from raypipe.adapters.upkeep_plan import Expiring, expired
from raypipe.contracts.contract import Contract
from raypipe.contracts.retention import Retention
from raypipe.errors import GenerationMoved

EXPIRE = "expire"
"""What the stream `retention/<source>` decides."""


@dataclass(frozen=True, slots=True)
class Expiry:
    """What of one table is too old.

    Parameters
    ----------
    table
        Its name.
    keeps_from
        The first day that is kept.
    turn, number
        The table's turn that this holds for, and the number of the last commit under its application id.
    files
        Those that hold such rows.
    """

    table: str
    keeps_from: date
    turn: int
    number: int
    files: tuple[Expiring, ...]

    @property
    def rows(self) -> int:
        """How many rows leave."""
        return sum(f.rows for f in self.files)

    @property
    def size_bytes(self) -> int:
        """How large they are, about."""
        return sum(f.size_bytes for f in self.files)


class Retainer:
    """Keeps the rows of one source as long as its contract says, and no longer.

    Parameters
    ----------
    who
        Who decides, for the record.
    """

    def __init__(self, store: Store, source: str, contract: Contract, clock: Callable[[], datetime], who: str) -> None:
        self._source, self._contract, self._clock, self._who = source, contract, clock, who
        self._decisions = Decisions(store)
        self._tables = {
            t.name: t
            for t in (
                dead_letters_table(store),
                key_samples_table(store, source),
                events_table(store, source, contract),
            )
        }
        self._events, self._samples = f"events/{source}", f"key_samples/{source}"

    def plan(self) -> list[Expiry]:
        """Return what is too old now, by table; nothing where the contract keeps rows for ever."""
        if self._contract.retention is None:
            return []
        keeps_from = self._contract.retention.keeps_from(self._clock())
        return [e for name in self._tables if (e := self._plan(name, keeps_from)).files]

    def settle(self) -> None:
        """Record the decisions of commits whose writer was killed before it could."""
        for table in self._tables.values():
            self._record(table)

    def apply(self, expiry: Expiry, retention: Retention) -> Expiry:
        """Return what has left; as often as another writer came first, look again at what there is."""
        table = self._tables[expiry.table]
        left: dict[str, WrittenFile | None] = {}
        while expiry.files:
            for e in expiry.files:
                if e.file.uri not in left:
                    left[e.file.uri] = None if e.whole else table.write(self._kept(e, expiry))
            said = {
                "who": self._who,
                "why": self._why(expiry, retention),
                "before": expiry.keeps_from.isoformat(),
                "rows": expiry.rows,
                "files": len(expiry.files),
                "bytes": expiry.size_bytes,
            }
            try:
                table.commit(
                    [w for e in expiry.files if (w := left[e.file.uri])],
                    app_id=self._app(expiry.table),
                    generation=expiry.number + 1,
                    removed=[e.file for e in expiry.files],
                    turn=expiry.turn,
                    metadata=said,
                )
            except GenerationMoved:
                expiry = self._plan(expiry.table, expiry.keeps_from)
                continue
            self._record(table)
            break
        return expiry

    def _app(self, table: str) -> str:
        return SAMPLE_APP if table == self._samples else retention_of(self._source)

    def _plan(self, name: str, keeps_from: date) -> Expiry:
        table, app = self._tables[name], self._app(name)
        found = table.standing([app])
        files = table.files(found.version) if found.version >= 0 else ()
        old = expired(files, keeps_from) if name == self._events else list(self._old_in(table, files, keeps_from))
        return Expiry(name, keeps_from, found.turn, found.numbers[app], tuple(old))

    def _old_in(self, table: LakeTable, files: Iterable[DataFile], keeps_from: date) -> Iterator[Expiring]:
        columns = ["event_date"] if table.name == self._samples else ["source", "known_at"]
        for file in files:
            rows = int(pc.sum(self._old(table.store.read_parquet(file.uri, columns), keeps_from)).as_py() or 0)
            if rows:
                yield Expiring(file, rows)

    def _old(self, rows: pa.Table, keeps_from: date) -> Any:
        """Return which rows are too old; one without a time is not."""
        midnight = datetime.combine(keeps_from, time(), UTC)
        if "event_date" in rows.column_names:
            old = pc.less(rows["event_date"], pa.scalar(keeps_from))
        else:
            mine = pc.equal(rows["source"], pa.scalar(self._source))
            old = pc.and_(mine, pc.less(rows["known_at"], pa.scalar(midnight, TIMESTAMP)))
        return pc.fill_null(old, pa.scalar(False))

    def _kept(self, expiring: Expiring, expiry: Expiry) -> pa.Table:
        rows = self._tables[expiry.table].store.read_parquet(expiring.file.uri)
        return rows.filter(pc.invert(self._old(rows, expiry.keeps_from)))

    def _why(self, expiry: Expiry, retention: Retention) -> str:
        return (
            f"{expiry.rows:,} rows of {expiry.table} are from before {expiry.keeps_from}: version "
            f"{self._contract.version} of the contract keeps them for {retention.text}"
        )

    def _record(self, table: LakeTable) -> None:
        """Record the decision of the last commit, unless it is; those of all before it are."""
        stream = retention_of(self._source)
        number = table.generation(stream)
        while number:
            past = self._decisions.stream(stream)
            if any((e := json.loads(d.evidence))["table"] == table.name and e["commit"] == number for d in past):
                return
            said = table.metadata(stream) or {}
            try:
                self._decisions.record(
                    past[-1] if past else None,
                    stream=stream,
                    at=self._clock(),
                    who=str(said["who"]),
                    what=EXPIRE,
                    why=str(said["why"]),
                    evidence={
                        "table": table.name,
                        "commit": number,
                        **{name: said[name] for name in ("before", "rows", "files", "bytes")},
                    },
                )
            except GenerationMoved:
                continue  # somebody else settles too
            return
