"""A window of days is two dates in order, the second not included."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.contracts.backfill import Days
from raypipe.errors import ConfigError


@given(st.dates(), st.dates(), st.dates())
def test_the_days_of_a_window_are_those_from_its_start_until_before_its_end(start, until, day):
    if start < until:
        assert Days.parse(f"{start}..{until}").hold(str(day)) == (start <= day < until)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2013-02-01", "there is no `..` in it"),
        ("2013-02-01..", "write FROM..UNTIL"),
        ("2013-02-30..2013-03-01", "write FROM..UNTIL"),
        ("2013-02-01..2013-02-01", "is empty: UNTIL is the day after the last one"),
    ],
)
def test_what_is_no_window_is_said_with_the_form_to_write(text, said):
    with pytest.raises(ConfigError, match=said):
        Days.parse(text)


def test_no_day_is_in_no_window():
    assert not Days(date(2013, 1, 1), date(2014, 1, 1)).hold(None)
