"""When and how the demonstration data is damaged on purpose: seeded, labelled, and known beforehand.

The plan of a day depends on the seed and its month alone, so landing January to March and then April gives the same
bytes as landing January to April. Knows days, rows and lines. Does not know where they are landed.

Faults fall on odd days from the 3rd to the 25th, one kind a day; a replay copies rows of the day before, which is
even and therefore sound.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from enum import StrEnum

import polars as pl

Damage = Callable[[bytes], bytes]


class FaultKind(StrEnum):
    """What is wrong with a drop."""

    REPLAYED = "replayed"
    """Rows of the day before come again, unchanged: the key is known already."""
    BROKEN_LINES = "broken_lines"
    """Lines of JSON are cut in the middle."""
    CUT_ROWS = "cut_rows"
    """Rows of CSV lack their last two columns."""
    WRONG_DATES = "wrong_dates"
    """One airline's schedules come in an object of their own, with dates as MM-DD-YYYY HH:MM."""
    LATE = "late"
    """The day's object is held back and lands `LATE_BY` later, under a name of its own."""


SOURCES: dict[FaultKind, tuple[str, ...]] = {
    FaultKind.REPLAYED: ("schedules", "departures", "arrivals", "weather"),
    FaultKind.BROKEN_LINES: ("arrivals",),
    FaultKind.CUT_ROWS: ("schedules",),
    FaultKind.WRONG_DATES: ("schedules",),
    FaultKind.LATE: ("arrivals",),
}
"""Which sources a kind of fault is injected into."""

LATE_BY = timedelta(days=3)
"""How long an object is held back."""

AIRLINE_WITH_WRONG_DATES = "WN"
"""About 33 of 900 flights a day: even a range of that one day stays below a limit of 5 percent."""

DAMAGED_ROWS = 8
"""How many lines are broken, or rows cut, in an object."""

_DAYS_A_MONTH = {
    FaultKind.REPLAYED: 4,
    FaultKind.BROKEN_LINES: 2,
    FaultKind.CUT_ROWS: 2,
    FaultKind.WRONG_DATES: 1,
    FaultKind.LATE: 1,
}
_REPLAYED_ROWS = {"schedules": 10, "departures": 10, "arrivals": 10, "weather": 3}


def fault_on(source: str, day: date, seed: int) -> FaultKind | None:
    """Return what is wrong with a source's drop of a day, or None.

    Examples
    --------
    >>> {kind for d in range(1, 29) if (kind := fault_on("weather", date(2013, 2, d), 7))}
    {<FaultKind.REPLAYED: 'replayed'>}
    """
    odd = range(3, 27, 2)
    kinds = [kind for kind, days in _DAYS_A_MONTH.items() for _ in range(days)]
    drawn = random.Random(f"{seed}:{day:%Y-%m}").sample(odd, len(kinds))
    kind = dict(zip(drawn, kinds, strict=True)).get(day.day)
    return kind if kind is not None and source in SOURCES[kind] else None


def replayed(source: str, before: pl.DataFrame, day: date, seed: int) -> pl.DataFrame:
    """Return rows of the day before that come again on `day`; as many as there are, if they are few."""
    count = min(_REPLAYED_ROWS[source], before.height)
    return before[_draw(range(before.height), count, source, day, seed)]


def broken_lines(data: bytes, day: date, seed: int) -> tuple[bytes, int]:
    """Return JSON lines of which some are cut in the middle, and how many."""
    return _damage(data, 0, "arrivals", day, seed, lambda line: line[: len(line) // 2])


def cut_rows(data: bytes, day: date, seed: int) -> tuple[bytes, int]:
    """Return CSV, header and all, of which some rows lack their last two columns, and how many."""
    return _damage(data, 1, "schedules", day, seed, lambda line: line.rsplit(b",", 2)[0])


def _damage(data: bytes, first: int, source: str, day: date, seed: int, how: Damage) -> tuple[bytes, int]:
    lines = data.splitlines()
    at = _draw(range(first, len(lines)), min(DAMAGED_ROWS, len(lines) - first), source, day, seed)
    for i in at:
        lines[i] = how(lines[i])
    return b"\n".join([*lines, b""]), len(at)


def _draw(where: Sequence[int], count: int, source: str, day: date, seed: int) -> list[int]:
    return sorted(random.Random(f"{seed}:{source}:{day}").sample(where, count))
