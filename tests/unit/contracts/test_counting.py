"""What is counted for table rules does not depend on how rows are split, nor on the order of the parts."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from functools import reduce

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from raypipe.contracts.comparison import ZERO
from raypipe.contracts.counting import columns_of, count, merge, missing, numbers, repeats
from raypipe.contracts.table_rules import (
    Age,
    InvalidValues,
    MissingValues,
    NullValues,
    Query,
    RowCount,
    named,
    table_rule,
)

NOW = datetime(2020, 1, 10, tzinfo=UTC)
SCHEMA = {"code": pl.String, "n": pl.Int64, "at": pl.Datetime("us", "UTC"), "day": pl.Date}
RULES = named(
    [
        table_rule(measure, ZERO)
        for measure in (
            NullValues("code"),
            MissingValues("code", ("N/A", ""), null=True),
            MissingValues("code", ("N/A",), null=False),
            MissingValues("n", (), null=True),
            InvalidValues("code", ("a", "b"), None),
            InvalidValues("code", ("a", "b"), "^a"),
            Age("at", timedelta(days=1)),
            Age("day", timedelta(hours=1)),
        )
    ]
)
ROWS = pl.DataFrame(
    {
        "code": ["a", "b", "c", "N/A", "", None],
        "n": [1, None, 3, 4, 5, 6],
        "at": [NOW - timedelta(days=d) for d in (9, 3, 5, 7, 8, 6)],
        "day": [date(2020, 1, d) for d in (1, 2, 9, 3, 4, 5)],
    },
    schema=SCHEMA,
)


def measured(parts, now=NOW):
    return numbers([count(part, RULES) for part in parts], RULES, now)


def test_a_column_is_counted_by_nulls_missing_invalid_and_newest():
    assert measured([ROWS]) == {
        "nullValues(code)": 1,
        "missingValues(code)": 3,
        "missingValues(code) 2": 1,
        "missingValues(n)": 1,
        "invalidValues(code)": 3,
        "invalidValues(code) 2": 4,
        "latency(at)": 3,
        "latency(day)": 24,
    }


def test_only_columns_that_a_rule_looks_at_are_read():
    assert columns_of(RULES) == ["code", "n", "at", "day"]
    assert columns_of([table_rule(RowCount(), ZERO)]) == []


def test_of_no_rows_there_are_none_and_no_newest():
    assert measured([]) == measured([ROWS.head(0)])
    assert measured([])["nullValues(code)"] == 0
    assert measured([])["latency(at)"] is None
    asked = [table_rule(Query("SELECT 1", "t", ("n",), "x"), ZERO)]
    assert numbers([], asked, NOW) == {"sql(x)": None}


values = st.tuples(
    st.sampled_from(["a", "b", "c", "N/A", "", None]),
    st.none() | st.integers(0, 3),
    st.integers(0, 200).map(lambda hours: NOW - timedelta(hours=hours)),
    st.none() | st.dates(date(2020, 1, 1), date(2020, 1, 9)),
)


def frame(rows):
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


@given(st.lists(st.lists(values, max_size=4), max_size=5), st.randoms())
def test_the_counts_of_parts_in_any_order_are_those_of_the_whole(parts, random):
    whole = frame([row for part in parts for row in part])
    shuffled = random.sample(parts, len(parts))
    assert measured([frame(p) for p in shuffled]) == measured([whole])


@given(*[st.lists(values, max_size=4).map(lambda rows: count(frame(rows), RULES))] * 3)
def test_merging_is_associative_and_commutative(a, b, c):
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert merge(a, b) == merge(b, a)
    assert reduce(merge, [a], {}) == a


KEYS = st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.none() | st.integers(0, 1)), max_size=8)
PAIR = {"c": pl.String, "n": pl.Int64}


@given(KEYS, KEYS)
def test_repeats_are_the_rows_beyond_the_first_of_each_key_or_all_of_a_known_one(keys, known):
    whole = Counter(k for k in keys if None not in k)
    expected = sum(n - (k not in known) for k, n in whole.items())
    assert repeats(*(pl.DataFrame(k, schema=PAIR, orient="row") for k in (keys, known))) == expected


def test_without_a_key_or_a_known_one_types_do_not_matter():
    nothing, one = pl.DataFrame(schema={"c": pl.Null}), pl.DataFrame({"c": ["a"]})
    assert [repeats(one, nothing), missing(one, nothing), repeats(nothing, one), missing(nothing, one)] == [0, 1, 0, 0]


@given(KEYS, KEYS)
def test_missing_keys_are_the_whole_keys_that_are_not_known(keys, known):
    expected = sum(None not in k and k not in known for k in keys)
    there = pl.DataFrame(known, schema={"id": pl.String, "m": pl.Int64}, orient="row")
    assert missing(pl.DataFrame(keys, schema=PAIR, orient="row"), there) == expected
