"""A window of past days whose rows are to be replaced by those of given objects.

Knows days. Does not know objects or tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from raypipe.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Days:
    """Days from `start` until before `until`, by event date in UTC.

    Examples
    --------
    >>> Days.parse("2013-02-01..2013-03-01").until
    datetime.date(2013, 3, 1)
    """

    start: date
    until: date

    @staticmethod
    def parse(text: str) -> Days:
        """Return the days that `FROM..UNTIL` says; UNTIL itself is not one of them.

        Raises
        ------
        ConfigError
            When it is not two dates in order.
        """
        start, dots, until = text.partition("..")
        try:
            days = Days(date.fromisoformat(start), date.fromisoformat(until))
        except ValueError as error:
            raise ConfigError(
                f"{text!r} is no window of days ({error if dots else 'there is no `..` in it'}): write FROM..UNTIL, as "
                "in 2013-02-01..2013-03-01 for all of February"
            ) from error
        if days.start >= days.until:
            raise ConfigError(f"the window {days} is empty: UNTIL is the day after the last one")
        return days

    def __str__(self) -> str:
        return f"{self.start}..{self.until}"

    def hold(self, day: str | None) -> bool:
        """Return whether a day in ISO 8601 is one of them."""
        return day is not None and str(self.start) <= day < str(self.until)


@dataclass(frozen=True, slots=True)
class Backfill:
    """A correction that a person asks for.

    Parameters
    ----------
    source
        Which table; None when the pipeline has one source.
    days
        Every row of these leaves the table, in the step in which the new ones enter.
    uri
        Prefix or directory of the objects that hold the new rows, in the format of the source's objects.
    who, why
        For the record.
    """

    source: str | None
    days: Days
    uri: str
    who: str
    why: str
