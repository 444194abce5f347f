"""How long rows are kept is a rule with a unit, and it never takes a day that is not over for that long."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.contracts.odcs import load_contract
from raypipe.contracts.retention import Retention
from raypipe.errors import ContractError

CONTRACT = """\
apiVersion: v3.0.2
kind: DataContract
id: trips
version: 1.0.0
status: active
SLA
schema:
  - name: trips
    customProperties: [{property: eventAt, value: began}]
    properties:
      - {name: trip, logicalType: string, primaryKey: true}
      - {name: began, logicalType: timestamp, required: true}
      - {name: ended, logicalType: timestamp}
"""
NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)


def load(sla):
    return load_contract(CONTRACT.replace("SLA", sla), "trips.odcs.yaml")


def said(words):
    return load(f"slaProperties: [{{property: retention, {words}}}]").retention


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("value: 3, unit: y", Retention("3 y", months=36)),
        ("value: 1.5, unit: years", Retention("1.5 years", months=18)),
        ("value: 6, unit: months, element: trips.began", Retention("6 months", months=6)),
        ("value: 90, unit: D, element: began", Retention("90 D", length=timedelta(days=90))),
        ("value: 36, unit: h, element: trips", Retention("36 h", length=timedelta(hours=36))),
    ],
)
def test_a_retention_is_calendar_months_or_a_length_of_time(words, kept):
    assert said(words) == kept


def test_nothing_said_is_kept_for_ever_and_the_digest_is_about_rows_alone():
    plain, kept = load("tags: []"), load("slaProperties: [{property: re, value: 3, unit: y}]")
    assert plain.retention is None
    assert kept.digest == plain.digest


@pytest.mark.parametrize(
    ("sla", "why"),
    [
        ("{property: retention, value: 3}", "the unit of the retention is None: write one of s, min, h, d, w, y, month"),
        ("{property: retention, value: 3, unit: m}", "the unit of the retention is 'm'"),
        ("{property: retention, value: 0, unit: d}", "the retention is 0: write a number above 0"),
        ("{property: retention, value: three, unit: d}", "the retention is 'three': write a number above 0"),
        ("{property: retention, value: true, unit: d}", "write a number above 0"),
        ("{property: retention, value: .inf, unit: d}", "write a number above 0"),
        ("{property: retention, value: 1.0e+12, unit: d}", "nothing is that old"),
        ("{property: retention, value: 0.3, unit: y}", "no whole number of months: write it in days"),
        ("{property: retention, value: 3, unit: y, element: trips.ended}", "counted from `trips.ended`.*write trips.began"),
        ("{property: retention, value: 3, unit: y}, {property: re, value: 1, unit: y}", "stated twice"),
    ],
)  # fmt: skip
def test_a_retention_that_cannot_be_executed_is_an_error_with_its_line(sla, why):
    with pytest.raises(ContractError, match=why) as caught:
        load(f"slaProperties: [{sla}]")
    assert caught.value.line == 6


def test_a_default_element_that_is_no_event_time_has_to_be_overruled():
    default = "slaDefaultElement: ended\nslaProperties: [{property: retention, value: 1, unit: y"
    with pytest.raises(ContractError, match="counted from `ended`"):
        load(default + "}]")
    assert load(default + ", element: began}]").retention == Retention("1 y", months=12)


@pytest.mark.parametrize(
    ("retention", "first"),
    [
        (Retention("1 y", months=12), date(2023, 2, 28)),
        (Retention("1 mo", months=1), date(2024, 1, 29)),
        (Retention("2000 y", months=24_000), date(24, 2, 29)),
        (Retention("3000 y", months=36_000), date.min),
        (Retention("9 w", length=timedelta(weeks=900_000)), date.min),
    ],
)
def test_years_are_those_of_the_calendar(retention, first):
    assert retention.keeps_from(NOON) == first


@given(
    st.timedeltas(timedelta(0), timedelta(days=70_000)).map(lambda since: datetime(1900, 1, 1, tzinfo=UTC) + since),
    st.timedeltas(timedelta(seconds=1), timedelta(days=4000)),
)
def test_no_moment_that_is_younger_is_of_a_day_that_leaves_and_a_day_is_at_most_a_day_late(now, length):
    first = Retention("x", length=length).keeps_from(now)
    youngest_that_leaves = datetime.combine(first, time(), UTC)
    assert now - length >= youngest_that_leaves
    assert now - length < youngest_that_leaves + timedelta(days=1)
