"""A profile of a whole is the merge of the profiles of its parts, however they were cut."""

from __future__ import annotations

import math
import pickle
from functools import reduce
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.columns import Column
from raypipe.profile import ColumnProfile, Profile

rows_strategy = st.lists(
    st.tuples(
        st.one_of(st.none(), st.floats(-1e6, 1e6), st.sampled_from([math.nan, math.inf])),
        st.one_of(st.none(), st.sampled_from(["a", "b", "c", ""])),
        st.one_of(st.none(), st.booleans()),
    ),
    max_size=60,
)


def table(rows: list[tuple[float | None, str | None, bool | None]]) -> pa.Table:
    x, s, b = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table({"x": pa.array(x, pa.float64()), "s": pa.array(s, pa.string()), "b": pa.array(b, pa.bool_())})


def assert_alike(left: Profile, right: Profile) -> None:
    assert left.columns.keys() == right.columns.keys()
    for name, a in left.columns.items():
        b = right.columns[name]
        counts = ("type", "rows", "nulls", "nans", "minimum", "maximum")
        assert [getattr(a, f) for f in counts] == [getattr(b, f) for f in counts]
        assert a.mean == pytest.approx(b.mean, rel=1e-9, abs=1e-6)
        assert a.m2 == pytest.approx(b.m2, rel=1e-6, abs=1e-3)
        assert a.top(10) == b.top(10)
        # Below k values the sketch keeps every one, so even the quantiles are exact.
        assert a.quantiles([0.0, 0.25, 0.5, 1.0]) == b.quantiles([0.0, 0.25, 0.5, 1.0])


@given(rows_strategy, st.lists(st.integers(0, 60), max_size=3))
def test_a_merge_does_not_depend_on_how_rows_were_split(
    rows: list[tuple[float | None, str | None, bool | None]], cuts: list[int]
) -> None:
    whole = table(rows)
    edges = [0, *sorted(min(c, len(rows)) for c in cuts), len(rows)]
    parts = [Profile.of(whole.slice(a, b - a)) for a, b in pairwise(edges)]
    assert_alike(reduce(Profile.merge, parts, Profile.empty()), Profile.of(whole))


@given(rows_strategy, rows_strategy, rows_strategy)
def test_merging_is_associative(a: list, b: list, c: list) -> None:
    x, y, z = (Profile.of(table(rows)) for rows in (a, b, c))
    assert_alike(x.merge(y).merge(z), x.merge(y.merge(z)))


@given(rows_strategy)
def test_the_empty_profile_is_the_identity(rows: list) -> None:
    profile = Profile.of(table(rows))
    assert Profile.empty().merge(profile) == profile == profile.merge(Profile.empty())


@given(rows_strategy)
def test_a_profile_survives_json_and_pickle(rows: list) -> None:
    profile = Profile.of(table(rows))
    assert Profile.from_json(profile.to_json()) == profile
    assert pickle.loads(pickle.dumps(profile)) == profile


def test_moments_are_those_of_numpy() -> None:
    values = np.random.default_rng(3).normal(1000, 0.1, 5000)
    parts = [ColumnProfile.of(pa.chunked_array([part])) for part in np.array_split(values, 7)]
    merged = reduce(ColumnProfile.merge, parts)
    assert merged.mean == pytest.approx(values.mean())
    assert merged.std == pytest.approx(values.std(ddof=1))


def test_quantiles_of_many_merged_parts_are_within_the_sketchs_error() -> None:
    values = np.random.default_rng(3).normal(size=200_000)
    parts = [ColumnProfile.of(pa.chunked_array([part])) for part in np.array_split(values, 40)]
    merged = reduce(ColumnProfile.merge, parts)
    ranks = [0.01, 0.1, 0.5, 0.9, 0.99]
    found = merged.quantiles(ranks)
    assert found is not None
    true_ranks = np.searchsorted(np.sort(values), found) / len(values)
    # Three times the sketch's own 99 % bound of 0.13 %.
    assert np.abs(true_ranks - ranks).max() < 0.004
    share = merged.cdf([0.0])
    assert share is not None
    assert share[0] == pytest.approx((values <= 0).mean(), abs=0.004)


def test_frequent_values_are_exact_up_to_three_thousand_of_them() -> None:
    values = [str(i % 3000) for i in range(9001)]
    merged = ColumnProfile.of(pa.chunked_array([values[:4000]])).merge(
        ColumnProfile.of(pa.chunked_array([values[4000:]]))
    )
    assert merged.top(3) == (("0", 4), ("1", 3), ("10", 3))


def test_nan_and_infinite_values_are_counted_and_kept_out_of_the_moments() -> None:
    profile = ColumnProfile.of(pa.chunked_array([[1.0, math.nan, math.inf, None, 3.0]]))
    assert (profile.rows, profile.nulls, profile.nans, profile.count) == (5, 1, 2, 2)
    assert (profile.mean, profile.minimum, profile.maximum) == (2.0, 1.0, 3.0)


def test_a_column_without_values_says_so() -> None:
    profile = Profile.of(pa.table({"x": pa.array([None, None], pa.float64())})).columns["x"]
    assert (profile.null_rate, profile.std, profile.minimum, profile.quantiles([0.5])) == (1.0, None, None, None)
    assert ColumnProfile("float64").null_rate is None


def test_timestamps_are_profiled_as_seconds() -> None:
    times = pa.chunked_array([pa.array([1_500_000, 2_500_000], pa.timestamp("us", "UTC"))])
    profile = ColumnProfile.of(times)
    assert (profile.type, profile.minimum, profile.maximum, profile.mean) == ("timestamp", 1.5, 2.5, 2.0)


def test_named_columns_are_cast_before_they_are_profiled() -> None:
    profile = Profile.of(pa.table({"x": pa.array([1, 2], pa.int32()), "y": [1, 2]}), [Column("x", "float64")])
    assert {name: c.type for name, c in profile.columns.items()} == {"x": "float64"}


def test_columns_of_two_types_do_not_merge() -> None:
    with pytest.raises(ValueError, match="cast one of them"):
        ColumnProfile("string").merge(ColumnProfile("int64"))


def test_a_list_has_no_profile() -> None:
    with pytest.raises(TypeError, match="leave it out"):
        Profile.of(pa.table({"x": [[1]]}))
