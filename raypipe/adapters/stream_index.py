"""Which events a table has, by 128-bit hashes of their ids in memory, so that no file is read to find a duplicate.

Hashes lie in sorted chunks; when a chunk is no longer much larger than the next, the two become one, so that there are
few (a log-structured merge). Where equal ids have equal event dates, or the source has a window, each event date has an
index of its own, which is read when a batch first needs it. Knows ids and dates; does not know files.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

BYTES_AN_EVENT = 16
# A chunk is merged into the one before it unless that is so much larger: a lookup then looks into few, and a hash moves
# about log(events) times.
_GROWTH = 4
# Ids collide by chance once in about 2^64 events; seeds of this process alone keep a writer from choosing two that do.
_SEEDS = (secrets.randbits(64), secrets.randbits(64))

_U64 = npt.NDArray[np.uint64]
_Loader = Callable[[str | None], Iterable[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Hashes:
    """128-bit hashes in two halves of 64."""

    high: _U64
    low: _U64

    @staticmethod
    def of(ids: Any) -> Hashes:
        """Return the hashes of event ids (string), in their order."""
        series = pl.Series(ids, dtype=pl.String)
        return Hashes(*(series.hash(seed).to_numpy() for seed in _SEEDS))

    def __len__(self) -> int:
        return len(self.high)

    def take(self, places: npt.NDArray[Any]) -> Hashes:
        """Return those at these places, or under this mask."""
        return Hashes(self.high[places], self.low[places])


class SortedHashes:
    """A growing set of hashes.

    Examples
    --------
    >>> known = SortedHashes()
    >>> known.add(Hashes.of(["a", "b"]))
    >>> known.has(Hashes.of(["b", "c"])).tolist()
    [True, False]
    """

    def __init__(self) -> None:
        self._chunks: list[Hashes] = []

    def __len__(self) -> int:
        return sum(map(len, self._chunks))

    def add(self, hashes: Hashes) -> None:
        """Let the set have these too; one that it has is kept twice, which changes no answer."""
        if not len(hashes):
            return
        self._chunks.append(_sorted(hashes))
        while len(self._chunks) > 1 and len(self._chunks[-2]) < _GROWTH * len(self._chunks[-1]):
            one, other = self._chunks.pop(), self._chunks.pop()
            joined = Hashes(np.concatenate([other.high, one.high]), np.concatenate([other.low, one.low]))
            self._chunks.append(_sorted(joined))

    def has(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Return which of these the set has."""
        found = np.zeros(len(hashes), np.bool_)
        order = np.argsort(hashes.high)  # neighbours look near each other
        asked = hashes.take(order)
        for chunk in self._chunks:
            begin = np.searchsorted(chunk.high, asked.high, "left")
            # Nearly always 0 or 1; more only where one half is equal and the other is not, or a hash is kept twice.
            count = np.searchsorted(chunk.high, asked.high, "right") - begin
            for step in range(int(count.max(initial=0))):
                open_ = np.flatnonzero(count > step)
                found[order[open_]] |= chunk.low[begin[open_] + step] == asked.low[open_]
        return found


def _sorted(hashes: Hashes) -> Hashes:
    return hashes.take(np.argsort(hashes.high, kind="stable"))


class EventIndex:
    """The ids of a table's events, a part for each event date or one for all.

    Parameters
    ----------
    load
        Returns the event ids of a date's files (`2013-01-01`), or those of all files for None.
    same_date
        Whether equal ids have equal event dates, as where the event's time is part of the key.
    window
        How far before a new event an equal one is looked for; None means everywhere.
    """

    # Parts that no batch of the last so many needed are let go; one that a late event needs is read again.
    _KEPT_BATCHES = 256

    def __init__(self, load: _Loader, *, same_date: bool, window: timedelta | None) -> None:
        self._load = load
        self._same_date, self._window = same_date, window
        self._parts: dict[str | None, SortedHashes] = {}
        self._used: dict[str | None, int] = {}
        self._batches = 0

    def __len__(self) -> int:
        """How many hashes are in memory, each of `BYTES_AN_EVENT`."""
        return sum(map(len, self._parts.values()))

    def known(self, ids: Any, dates: Sequence[date], present: Iterable[str]) -> npt.NDArray[np.bool_]:
        """Return which events the table has.

        Parameters
        ----------
        ids
            Event ids of a batch (string).
        dates
            Their event dates, or only some of them where that is the same for all.
        present
            The event dates of which the table has files.
        """
        self._batches += 1
        hashes = Hashes.of(ids)
        days = np.array(dates, "datetime64[D]")
        found = np.zeros(len(hashes), np.bool_)
        there = set(present)
        for part in self._needed(days, there):
            if part not in self._parts:
                self._read(part)
            self._used[part] = self._batches
            if not self._same_date or part is None:
                found |= self._parts[part].has(hashes)
            else:
                mine = np.flatnonzero(days == np.datetime64(part))
                found[mine] = self._parts[part].has(hashes.take(mine))
        self._let_go()
        return found

    def add(self, ids: Any, dates: Sequence[date]) -> None:
        """Let the index know events that this stream committed."""
        hashes = Hashes.of(ids)
        if not self._by_date:
            if None in self._parts:
                self._parts[None].add(hashes)
            return
        days = np.array(dates, "datetime64[D]")
        for day in np.unique(days):
            part = str(day)
            # A date that is not in memory is read from its files when it is needed.
            if part in self._parts:
                self._parts[part].add(hashes.take(days == day))

    def add_file(self, day: str, ids: Any) -> None:
        """Let the index know the events of a file that another writer added."""
        part = day if self._by_date else None
        if part in self._parts:
            self._parts[part].add(Hashes.of(ids))

    def forget(self, day: str) -> None:
        """Read the events of this date again before they are used: files of it left the table."""
        self._parts.pop(day if self._by_date else None, None)

    def holds(self, day: str) -> bool:
        """Return whether events of this date are in memory."""
        return (day if self._by_date else None) in self._parts

    @property
    def _by_date(self) -> bool:
        return self._same_date or self._window is not None

    def _needed(self, days: npt.NDArray[np.datetime64], present: set[str]) -> Sequence[str | None]:
        if not len(days):
            return []
        if not self._by_date:
            return [None]
        if self._same_date:
            return list(map(str, np.unique(days)))
        assert self._window is not None
        # The window ends in the middle of a date; the whole date is looked at.
        oldest = str(days.min() - np.timedelta64(-(-self._window // timedelta(days=1)), "D"))
        return sorted({d for d in present if d >= oldest} | {str(d) for d in np.unique(days)})

    def _read(self, part: str | None) -> None:
        self._parts[part] = SortedHashes()
        for ids in self._load(part):
            self._parts[part].add(Hashes.of(ids))

    def _let_go(self) -> None:
        for part in [p for p, used in self._used.items() if used <= self._batches - self._KEPT_BATCHES]:
            self._parts.pop(part, None)
            del self._used[part]
