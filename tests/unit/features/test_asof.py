"""Point-in-time joins against an oracle that looks at every pair of rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.errors import ConfigError
from raypipe.features.asof import join_as_of
from raypipe.features.view import FeatureView

UTC_TIME = pa.timestamp("us", "UTC")
EPOCH = datetime(2013, 1, 1, tzinfo=UTC)
LATEST = FeatureView(name="latest", entity=("unit", "place"), source="s", ttl="5s", columns=("x", "word"))
WINDOWS = FeatureView(
    name="window",
    entity=("unit", "place"),
    source="s",
    aggregate={
        "count": {"count": "*", "over": "4s"},
        "sum": {"sum": "x", "over": "4s"},
        "mean": {"mean": "x", "over": "9s"},
        "rate": {"mean": "x > 1", "over": "9s"},
    },
)

moments = st.integers(0, 20).map(lambda s: EPOCH + timedelta(seconds=s))
times = st.one_of(st.none(), moments)
units = st.sampled_from(["a", "b", None])
places = st.sampled_from([1, 2])
numbers = st.one_of(
    st.none(),
    st.sampled_from([0.0, 1.0, 1.5, math.nan, math.inf]),
    st.floats(allow_nan=False, allow_infinity=False, width=64, min_value=-1e300, max_value=1e300),
)
sources = st.lists(st.tuples(units, places, times, times, numbers, st.sampled_from(["p", "q", None])), max_size=25)
spines = st.lists(st.tuples(units, places, times), max_size=12)


def source_table(rows: Sequence[tuple]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [[]] * 6
    kinds = [pa.string(), pa.int64(), UTC_TIME, UTC_TIME, pa.float64(), pa.string()]
    names = ["unit", "place", "event_at", "known_at", "x", "word"]
    return pa.table({n: pa.array(list(c), k) for n, c, k in zip(names, columns, kinds, strict=True)})


def spine_table(rows: Sequence[tuple]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [[]] * 3
    kinds = [pa.string(), pa.int64(), UTC_TIME]
    return pa.table({n: pa.array(list(c), k) for n, c, k in zip(["unit", "place", "t"], columns, kinds, strict=True)})


def joined(spine: Sequence[tuple], rows: Sequence[tuple], view: FeatureView) -> list[dict]:
    return (
        join_as_of(spine_table(spine), at="t", rows=source_table(rows), view=view)
        .select(list(view.feature_names))
        .to_pylist()
    )


def visible(rows: Sequence[tuple], unit: object, place: object, t: datetime | None) -> list[tuple]:
    if unit is None or t is None:
        return []
    return [
        r
        for r in rows
        if r[0] == unit and r[1] == place and r[2] is not None and r[3] is not None and r[2] <= t and r[3] <= t
    ]


def finite(x: float | None) -> float | None:
    return x if x is not None and math.isfinite(x) else None


def ordered(row: tuple) -> tuple:
    """The order of content: numbers, then what is not a number, then null."""
    x, word = row[4], row[5]
    return (row[2], row[3], (2, 0) if x is None else (1, 0) if math.isnan(x) else (0, x), (word is None, word or ""))


def oracle_latest(spine: Sequence[tuple], rows: Sequence[tuple]) -> list[dict]:
    found = []
    for unit, place, t in spine:
        best = max(visible(rows, unit, place, t), key=ordered, default=None)
        fresh = best is not None and best[2] >= t - timedelta(seconds=5)
        found.append({"latest__x": finite(best[4]) if fresh else None, "latest__word": best[5] if fresh else None})
    return found


def exactly(values: list[float]) -> float:
    return float(sum((Fraction(v) for v in values), Fraction(0)))


def oracle_windows(spine: Sequence[tuple], rows: Sequence[tuple]) -> list[dict]:
    found = []
    for unit, place, t in spine:

        def inside(over: int, unit: object = unit, place: object = place, t: datetime | None = t) -> list[tuple]:
            return [r for r in visible(rows, unit, place, t) if r[2] > t - timedelta(seconds=over)]

        short = [x for r in inside(4) if (x := finite(r[4])) is not None]
        long = [x for r in inside(9) if (x := finite(r[4])) is not None]
        found.append(
            {
                "window__count": None if unit is None or t is None else float(len(inside(4))),
                "window__sum": exactly(short) if short else None,
                "window__mean": exactly(long) / len(long) if long else None,
                "window__rate": sum(x > 1 for x in long) / len(long) if long else None,
            }
        )
    return found


def close(got: list[dict], wanted: list[dict]) -> bool:
    """Equal up to the rounding of the last additions; nulls exactly."""

    def same(a: float | str | None, b: float | str | None) -> bool:
        if isinstance(a, float) and isinstance(b, float):
            return math.isclose(a, b, rel_tol=1e-15, abs_tol=0)
        return a == b

    return len(got) == len(wanted) and all(
        g.keys() == w.keys() and all(same(g[k], w[k]) for k in g) for g, w in zip(got, wanted, strict=True)
    )


@given(spines, sources)
def test_the_latest_row_is_that_of_the_oracle(spine, rows):
    assert joined(spine, rows, LATEST) == oracle_latest(spine, rows)


@given(spines, sources)
def test_windows_are_those_of_the_oracle(spine, rows):
    assert close(joined(spine, rows, WINDOWS), oracle_windows(spine, rows))


@pytest.mark.parametrize("view", [LATEST, WINDOWS], ids=["latest", "windows"])
class TestLaws:
    @given(spine=spines, rows=sources, data=st.data())
    def test_the_order_of_the_source_does_not_matter(self, view, spine, rows, data):
        assert joined(spine, rows, view) == joined(spine, data.draw(st.permutations(rows)), view)

    @given(spine=spines, rows=sources, cut=st.integers(0, 12))
    def test_where_the_spine_is_cut_does_not_matter(self, view, spine, rows, cut):
        assert joined(spine[:cut], rows, view) + joined(spine[cut:], rows, view) == joined(spine, rows, view)

    @given(spine=spines, rows=sources, late=st.lists(st.tuples(units, places, numbers), min_size=1), data=st.data())
    def test_a_row_from_the_future_of_either_clock_changes_nothing(self, view, spine, rows, late, data):
        t = data.draw(moments)
        spine = [(u, p, t) for u, p, _ in spine]
        future = t + timedelta(microseconds=1)
        clocks = st.sampled_from([(t, future), (future, t), (future, future), (t, None), (None, t)])
        unseen = [(u, p, *data.draw(clocks), x, "future") for u, p, x in late]
        assert joined(spine, rows + unseen, view) == joined(spine, rows, view)

    @given(spine=spines, rows=sources, old=st.lists(st.tuples(units, places, numbers), min_size=1), data=st.data())
    def test_rows_before_the_lookback_may_be_left_out_bit_for_bit(self, view, spine, rows, old, data):
        before = EPOCH - view.lookback - timedelta(microseconds=1)
        forgotten = [(u, p, before, data.draw(moments), x, "old") for u, p, x in old]
        assert joined(spine, rows + forgotten, view) == joined(spine, rows, view)

    @given(spine=spines, rows=sources)
    def test_spine_rows_keep_their_number_order_and_columns(self, view, spine, rows):
        table = spine_table(spine)
        result = join_as_of(table, at="t", rows=source_table(rows), view=view)
        assert result.select(table.column_names).equals(table)


def at(second: float) -> datetime:
    return EPOCH + timedelta(seconds=second)


def test_a_spine_row_whose_entity_has_only_later_features_is_kept_with_nulls():
    assert joined([("a", 1, at(3))], [("a", 1, at(4), at(4), 7.0, "p")], LATEST) == [
        {"latest__x": None, "latest__word": None}
    ]


def test_the_ttl_includes_its_end_and_the_window_does_not():
    row = ("a", 1, at(0), at(0), 7.0, "p")
    assert joined([("a", 1, at(5))], [row], LATEST)[0]["latest__x"] == 7.0
    assert joined([("a", 1, at(5.000001))], [row], LATEST)[0]["latest__x"] is None
    assert joined([("a", 1, at(3.999999))], [row], WINDOWS)[0]["window__count"] == 1
    assert joined([("a", 1, at(4))], [row], WINDOWS)[0]["window__count"] == 0


def test_a_late_row_about_an_older_event_does_not_replace_a_newer_one():
    rows = [("a", 1, at(2), at(2), 2.0, "new"), ("a", 1, at(1), at(3), 1.0, "old but late")]
    assert joined([("a", 1, at(3))], rows, LATEST)[0]["latest__word"] == "new"


@pytest.mark.parametrize("turn", [1, -1])
def test_a_correction_of_the_same_event_wins_once_it_is_known(turn):
    rows = [("a", 1, at(1), at(1), 1.0, "first"), ("a", 1, at(1), at(3), 2.0, "corrected")]
    got = joined([("a", 1, at(2)), ("a", 1, at(3))], rows[::turn], LATEST)
    assert [g["latest__word"] for g in got] == ["first", "corrected"]


@pytest.mark.parametrize("turn", [1, -1])
def test_of_rows_equal_on_both_clocks_the_greatest_event_id_wins_then_the_greatest_values(turn):
    rows = [("a", 1, at(1), at(1), x, word) for x, word in [(2.0, "q"), (2.0, "p"), (1.0, "z")]][::turn]
    assert joined([("a", 1, at(2))], rows, LATEST) == [{"latest__x": 2.0, "latest__word": "q"}]
    named = source_table(rows).append_column("event_id", pa.array(["e1", "e1", "e2"][::turn]))
    got = join_as_of(spine_table([("a", 1, at(2))]), at="t", rows=named, view=LATEST)
    assert got.column("latest__word").to_pylist() == ["z"]


def test_a_row_known_only_after_its_window_closed_never_counts():
    rows = [("a", 1, at(0), at(6), 3.0, "late"), ("a", 1, at(5), at(5), 5.0, "in time")]
    assert [g["window__count"] for g in joined([("a", 1, at(s)) for s in (3, 5, 6, 8)], rows, WINDOWS)] == [0, 1, 1, 1]


def test_nothing_happened_is_zero_but_nothing_measured_is_null():
    assert joined([("a", 1, at(1))], [], WINDOWS) == [
        {"window__count": 0.0, "window__sum": None, "window__mean": None, "window__rate": None}
    ]


def test_a_large_value_before_a_window_leaves_no_rounding_in_it():
    rows = [("a", 1, at(0), at(0), 1e300, "p"), ("a", 1, at(6), at(6), 0.1, "p"), ("a", 1, at(6), at(6), 0.2, "p")]
    assert joined([("a", 1, at(7))], rows, WINDOWS)[0]["window__sum"] == 0.1 + 0.2


def test_numbers_become_float64_and_other_columns_stay():
    rows = source_table([("a", 1, at(0), at(0), 1.0, "p")]).append_column("whole", pa.array([3]))
    rows = rows.append_column("flag", pa.array([True])).append_column("word2", pa.array(["p"]).dictionary_encode())
    view = FeatureView(name="v", entity=("unit",), source="s", ttl="5s", columns=("whole", "flag", "word2", "known_at"))
    result = join_as_of(spine_table([("a", 1, at(1))]), at="t", rows=rows, view=view)
    assert [result.schema.field(n).type for n in view.feature_names] == [
        pa.float64(),
        pa.bool_(),
        pa.string(),
        UTC_TIME,
    ]


def test_many_wide_entity_keys_do_not_overflow_their_number():
    size = 3_000
    keys = {f"k{i}": pa.array([j * 7919 % 3001 for j in range(size)], pa.int64()) for i in range(6)}
    times = pa.array([at(0)] * size, UTC_TIME)
    rows = pa.table({**keys, "event_at": times, "known_at": times, "x": pa.array(range(size))})
    view = FeatureView(name="v", entity=tuple(keys), source="s", ttl="5s", columns=("x",))
    result = join_as_of(pa.table({**keys, "t": times}), at="t", rows=rows, view=view)
    assert result.column("v__x").to_pylist() == [float(i) for i in range(size)]


@pytest.mark.parametrize(
    ("view", "message"),
    [
        ({"ttl": "5s", "columns": ("speeed",)}, "'speeed'"),
        ({"aggregate": {"m": {"mean": "word", "over": "1s"}}}, "'word' of source `s` is of type string"),
        ({"entity": ("place2",), "ttl": "5s", "columns": ("x",)}, "did you mean 'place'"),
    ],
)
def test_a_view_that_does_not_fit_says_what_and_where(view, message):
    bad = FeatureView.model_validate({"name": "v", "entity": ("unit",), "source": "s", **view})
    with pytest.raises(ConfigError, match=message):
        join_as_of(spine_table([("a", 1, at(1))]), at="t", rows=source_table([]), view=bad)


def test_an_entity_of_two_types_is_refused_with_both():
    spine = pa.table({"unit": pa.array([1]), "place": pa.array([1]), "t": pa.array([at(1)], UTC_TIME)})
    with pytest.raises(ConfigError, match="int64 in the spine and string in source `s`"):
        join_as_of(spine, at="t", rows=source_table([]), view=LATEST)
