"""How long a source's rows are kept, as its contract says. Knows calendars; does not know rows or clocks."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta


@dataclass(frozen=True, slots=True)
class Retention:
    """How long rows are kept, counted from the day on which their events happened.

    Parameters
    ----------
    text
        In the contract's words, such as `3 y`.
    months
        Whole months of the calendar; a year is twelve.
    length
        What is not months.
    """

    text: str
    months: int = 0
    length: timedelta = timedelta(0)

    def keeps_from(self, now: datetime) -> date:
        """Return the first UTC day of which every row is kept or some row is; days before it are over for good.

        A day leaves as a whole, once its last moment is older than the contract says: never early, at most a day late.
        Where a month is too short for the day of `now`, its last day counts.

        Examples
        --------
        >>> Retention("1 y", months=12).keeps_from(datetime(2024, 2, 29, 12, tzinfo=UTC))
        datetime.date(2023, 2, 28)
        >>> Retention("36 h", length=timedelta(hours=36)).keeps_from(datetime(2024, 3, 3, 13, tzinfo=UTC))
        datetime.date(2024, 3, 2)
        """
        now = now.astimezone(UTC)
        months = now.year * 12 + now.month - 1 - self.months
        if months < 12:
            return date.min  # before the calendar's first year
        year, month = divmod(months, 12)
        day = min(now.day, calendar.monthrange(year, month + 1)[1])
        try:
            return (now.replace(year=year, month=month + 1, day=day) - self.length).date()
        except OverflowError:
            return date.min
