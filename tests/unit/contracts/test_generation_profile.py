"""A profile is of the rows: equal for equal rows, whatever the batches and their order."""

from datetime import UTC, date, datetime
from functools import reduce
from itertools import pairwise

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.contracts import generation_profile
from raypipe.contracts.contract import TIMESTAMP, Contract, Field
from raypipe.contracts.generation_profile import ColumnCounts, GenerationProfile
from raypipe.contracts.letter_sample import LetterSample

CONTRACT = Contract(
    "rides",
    "1",
    (
        Field("ride", pa.string(), required=True),
        Field("at", TIMESTAMP, required=True),
        Field("day", pa.date32()),
        Field("km", pa.float64()),
        Field("seats", pa.int64(), valid_values=(1, 2)),
        Field("stops", pa.int64()),
        Field("paid", pa.bool_()),
    ),
    ("ride",),
    "at",
)
SCHEMA = pa.schema([*CONTRACT.schema, pa.field("event_id", pa.string())])
NOON = datetime(2020, 1, 1, 12, tzinfo=UTC)

rows = st.lists(
    st.fixed_dictionaries(
        {
            "ride": st.sampled_from("abcdefg"),
            "at": st.just(NOON),
            "day": st.none() | st.dates(date(2020, 1, 1), date(2020, 1, 9)),
            "km": st.none() | st.floats(-9, 9, width=16),
            "seats": st.sampled_from([None, 1, 2]),
            "stops": st.none() | st.integers(0, 9),
            "paid": st.none() | st.booleans(),
        }
    ),
    max_size=30,
)


def table(given_rows):
    return pa.Table.from_pylist([{**r, "event_id": r["ride"]} for r in given_rows], schema=SCHEMA)


def profile(given_table):
    hashes = pl.Series(given_table.column("event_id")).hash().to_numpy()
    return GenerationProfile.of(given_table, CONTRACT, hashes, LetterSample())


def plain(value):
    sample = None if value.sample is None else value.sample.to_pylist()
    return dict(value.columns), sample, value.summary()


@pytest.fixture(autouse=True, scope="module")
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generation_profile, "SAMPLE_ROWS", 5)
        patch.setattr(generation_profile, "MOST_CATEGORIES", 4)
        yield


@settings(max_examples=200)
@given(rows, st.lists(st.integers(0, 30), max_size=4), st.randoms(use_true_random=False))
def test_it_does_not_matter_how_rows_are_split_and_in_which_order_parts_are_merged(given_rows, cuts, random):
    whole = plain(profile(table(given_rows)))
    edges = [0, *sorted(min(c, len(given_rows)) for c in cuts), len(given_rows)]
    parts = [profile(table(given_rows[a:b])) for a, b in pairwise(edges)]
    random.shuffle(parts)
    assert plain(reduce(GenerationProfile.merge, parts, GenerationProfile())) == whole
    nested = reduce(lambda right, left: left.merge(right), parts, GenerationProfile())
    assert plain(nested) == whole


@given(rows)
def test_a_batch_may_be_in_chunks(given_rows):
    whole = table(given_rows)
    chunked = pa.concat_tables([whole.slice(i, 1) for i in range(len(given_rows))]) if given_rows else whole
    assert plain(profile(chunked)) == plain(profile(whole))


def test_counts_are_exact_and_times_are_seconds():
    found = profile(
        table(
            [
                {"ride": "a", "at": NOON, "day": date(1970, 1, 2), "km": 2.5, "seats": 2, "stops": 7, "paid": True},
                {"ride": "b", "at": NOON, "day": None, "km": None, "seats": 1, "stops": None, "paid": None},
                {"ride": "a", "at": NOON, "day": None, "km": -1.0, "seats": 2, "stops": 3, "paid": False},
            ]
        )
    ).columns
    noon = NOON.timestamp()
    assert found == {
        "ride": ColumnCounts(3, 0, categories=(("a", 2), ("b", 1))),
        "at": ColumnCounts(3, 0, noon, noon, None),
        "day": ColumnCounts(3, 2, 86400.0, 86400.0, None),
        "km": ColumnCounts(3, 1, -1.0, 2.5, None),
        "seats": ColumnCounts(3, 0, 1.0, 2.0, (("1", 1), ("2", 2))),
        "stops": ColumnCounts(3, 1, 3.0, 7.0, None),
        "paid": ColumnCounts(3, 1, categories=(("false", 1), ("true", 1))),
    }


def test_too_many_distinct_values_have_no_categories_even_when_each_part_has_few():
    parts = [profile(table([{"ride": name, "at": NOON}])) for name in "abcde"]
    assert reduce(GenerationProfile.merge, parts[:4]).columns["ride"].categories is not None
    assert reduce(GenerationProfile.merge, parts).columns["ride"].categories is None


def test_quantiles_of_many_rows_are_near_the_true_ones(monkeypatch):
    monkeypatch.setattr(generation_profile, "SAMPLE_ROWS", 2000)
    count = 20_000
    numbers = np.arange(count, dtype=np.float64)
    many = pa.table({"event_id": [f"e{i}" for i in range(count)], "km": numbers})
    for field in CONTRACT.fields:
        if field.name != "km":
            many = many.append_column(field.name, pa.nulls(count, field.type))
    summary = profile(many).summary()["km"]
    ranks = np.array(summary.quantiles) / count
    assert (summary.quantiles[0], summary.quantiles[-1]) == (0, count - 1)
    # Five standard errors of a rank: 5 sqrt(1/4 / 2000).
    assert np.abs(ranks - np.linspace(0, 1, 21)).max() < 0.056
    assert sum(summary.histogram) == 2000
