"""A generation beside its past: what is judged, what is beyond chance, and what too little history decides."""

from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.contracts.contract import TIMESTAMP, Contract, Field
from raypipe.contracts.generation_profile import ColumnCounts
from raypipe.contracts.history import Arrivals, Past, compare, judged_days
from raypipe.contracts.history_spec import HistorySpec
from raypipe.verdict import Status

MONDAY = date(2020, 3, 2)
CONTRACT = Contract(
    "rides",
    "1",
    (
        Field("city", pa.string(), classification="public"),
        Field("name", pa.string(), classification="restricted"),
        Field("at", TIMESTAMP),
    ),
    ("city",),
    "at",
)


def at(day):
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def weeks_before(*rows):
    return {MONDAY - timedelta(weeks=w): n for w, n in enumerate(rows, start=1)}


def arrivals(days=None, *, on=MONDAY + timedelta(days=1), **columns):
    return Arrivals(at(on), days or {}, columns)


def found(spec, now, *, generations=(), days=None):
    findings = compare(HistorySpec.model_validate(spec), CONTRACT, "rides", now, Past(tuple(generations), days or {}))
    return {f.rule: f for f in findings}


def row_count(rows, before, **spec):
    return found({"row_count": {"severity": "halt", **spec}}, arrivals({MONDAY: rows}), days=before)["row_count"]


def nulls(count, rows):
    return ColumnCounts(rows, count, categories=None)


def categories(**counts):
    return ColumnCounts(sum(counts.values()), 0, categories=tuple(sorted(counts.items())))


def test_without_a_word_in_the_file_nothing_is_compared():
    assert found({}, arrivals({MONDAY: 1}, city=nulls(1, 1)), days=weeks_before(100, 100, 100)) == {}


@pytest.mark.parametrize(
    ("rows", "status"),
    [(1000, Status.PASSED), (510, Status.PASSED), (300, Status.HALTED), (1990, Status.PASSED), (3000, Status.HALTED)],
)
def test_a_day_is_compared_with_the_median_of_the_same_weekdays(rows, status):
    # The Tuesday and one lost Monday do not count.
    days = weeks_before(1000, 1000, 1000, 10) | {MONDAY - timedelta(days=6): 9}
    assert row_count(rows, days).status is status


def test_a_far_day_is_named_with_both_numbers_and_what_to_do():
    finding = row_count(300, weeks_before(1000, 1000, 1000))
    assert (finding.observed, finding.limit, finding.rows) == (0.3, 0.5, 300)
    assert finding.message == (
        "`rides`: 2020-03-02 (Monday) has 300 rows, the same weekdays before have 1000: 30 %, at least 50 % is allowed: "
        "look at the source, then let it in or skip it, or change sources.rides.history.row_count.min_ratio"
    )


def test_a_few_rows_fewer_may_be_chance():
    assert row_count(1, weeks_before(4, 4, 4)).status is Status.NOT_APPLICABLE
    assert row_count(100, weeks_before(400, 400, 400)).status is Status.HALTED


def test_too_few_past_days_are_not_applicable_and_so_is_a_day_that_goes_on():
    assert row_count(1, weeks_before(1000, 1000)).status is Status.NOT_APPLICABLE
    today = arrivals({MONDAY: 1}, on=MONDAY)
    assert found({"row_count": {}}, today, days=weeks_before(9, 9, 9))["row_count"].status is Status.NOT_APPLICABLE


def test_a_warning_is_a_warning():
    assert row_count(300, weeks_before(1000, 1000, 1000), severity="warn").status is Status.WARNED


def test_what_is_already_there_of_a_day_counts():
    days = weeks_before(1000, 1000, 1000) | {MONDAY: 800}
    assert row_count(100, days).status is Status.PASSED


def test_a_backfill_is_compared_day_by_day_also_with_itself():
    days = {MONDAY - timedelta(weeks=w): 100 for w in range(1, 9)} | {MONDAY: 20}
    finding = found({"row_count": {}}, arrivals(days))["row_count"]
    assert finding.status is Status.WARNED
    assert "2020-03-02" in finding.message


def test_a_day_is_judged_by_the_first_generation_after_it_is_over():
    during = arrivals({MONDAY: 5}, on=MONDAY)
    after = arrivals({MONDAY: 5})
    assert judged_days(after, [during]) == (MONDAY,)
    assert judged_days(after, [during, after]) == ()
    assert judged_days(during, []) == ()


def test_many_far_days_are_one_finding_that_names_the_worst():
    far = {MONDAY - timedelta(days=d): 100 - d for d in range(5)}
    before = {day - timedelta(weeks=w): 1000 for day in far for w in range(1, 4)}
    finding = found({"row_count": {}}, arrivals(far), days=before)["row_count"]
    assert finding.message.startswith("`rides`: 2020-02-27 (Thursday) has 96 rows")
    assert "and 2 more days" in finding.message


def null_rate(count, rows, generations=3, **spec):
    past = [arrivals(city=nulls(50, 1000)) for _ in range(generations)]
    given_spec = {"null_rate": {"severity": "halt", **spec}}
    return found(given_spec, arrivals(city=nulls(count, rows)), generations=past)


def test_a_null_rate_beyond_the_limit_halts_and_says_both():
    finding = null_rate(400, 1000)["null_rate(city)"]
    assert (finding.status, finding.observed, finding.limit) == (Status.HALTED, pytest.approx(0.35), 0.1)
    assert "40 % of `city` of `rides` is null (400 of 1000), in the 3 generations before 5 %" in finding.message
    assert null_rate(100, 1000)["null_rate(city)"].status is Status.PASSED


def test_twenty_rows_do_not_halt_unless_they_leave_no_doubt():
    assert null_rate(4, 20)["null_rate(city)"].status is Status.NOT_APPLICABLE
    assert null_rate(20, 20)["null_rate(city)"].status is Status.HALTED


def test_too_few_generations_are_not_applicable():
    assert {f.status for f in null_rate(1000, 1000, generations=2).values()} == {Status.NOT_APPLICABLE}


def test_only_the_last_generations_are_compared_with():
    past = [arrivals(city=nulls(900, 1000)), *(arrivals(city=nulls(0, 1000)) for _ in range(3))]
    spec = {"null_rate": {"generations": 3}}
    assert found(spec, arrivals(city=nulls(0, 1000)), generations=past)["null_rate(city)"].status is Status.PASSED


def category_share(now, **spec):
    past = [arrivals(**{name: categories(a=500, b=500) for name in now}) for _ in range(3)]
    return found({"category_share": spec}, arrivals(**now), generations=past)


def test_a_share_that_moved_is_named_and_a_new_value_is_a_share_too():
    finding = category_share({"city": categories(a=300, b=300, c=400)})["category_share(city)"]
    assert finding.status is Status.WARNED
    assert "40 % of `city` of `rides` is `c` (400 of 1000), in the 3 generations before 0 %" in finding.message


def test_a_value_of_a_column_that_is_not_public_is_not_named():
    finding = category_share({"name": categories(a=300, b=300, secret=400)})["category_share(name)"]
    assert "is value 3 of 3" in finding.message
    assert "secret" not in finding.message


def test_nulls_do_not_move_the_shares_of_the_others():
    now = ColumnCounts(1000, 800, categories=(("a", 100), ("b", 100)))
    assert category_share({"city": now})["category_share(city)"].status is Status.PASSED


def test_many_values_have_no_shares_and_a_named_column_says_so():
    many = {"city": ColumnCounts(1000, 0, categories=None)}
    assert category_share(many) == {}
    assert category_share(many, columns=["city"])["category_share(city)"].status is Status.NOT_APPLICABLE


@given(st.integers(150, 3000), st.integers(150, 3000))
def test_what_halts_halts_with_more_nulls_too(one, other):
    halted = [null_rate(n, 3000)["null_rate(city)"].status is Status.HALTED for n in sorted((one, other))]
    assert halted != [True, False]


@pytest.mark.parametrize(
    "wrong", [{"row_count": {"min_days": 9}}, {"null_rate": {"min_generations": 11}}, {"row_count": {"min_ratio": 1}}]
)
def test_limits_that_can_never_be_met_are_refused(wrong):
    with pytest.raises(ValueError, match="min_"):
        HistorySpec.model_validate(wrong)
