"""Values of expressions, and columns as features."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest

from raypipe.features.expression import evaluate, feature_values
from raypipe.features.view import parse_expression


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("x", [1.0, 2.0, None, None, None]),
        ("x > 1", [0.0, 1.0, None, None, None]),
        ("x >= 1", [1.0, 1.0, None, None, None]),
        ("x < 2", [1.0, 0.0, None, None, None]),
        ("x <= 1", [1.0, 0.0, None, None, None]),
        ("x == 2", [0.0, 1.0, None, None, None]),
        ("x != 2", [1.0, 0.0, None, None, None]),
    ],
)
def test_a_comparison_is_one_or_zero_and_null_where_nothing_was_measured(text, wanted):
    rows = pa.table({"x": [1.0, 2.0, None, float("nan"), float("-inf")]})
    assert evaluate(rows, parse_expression(text), of="the rows").to_pylist() == wanted


def test_booleans_integers_and_decimals_are_numbers():
    for values in ([True, False], [1, 0], [Decimal("1.0"), Decimal("0.0")]):
        assert evaluate(pa.table({"x": values}), parse_expression("x"), of="the rows").to_pylist() == [1.0, 0.0]


def test_a_time_feature_is_in_utc_microseconds():
    times = pa.array([0], pa.timestamp("s", "America/New_York"))
    assert feature_values(times, name="t").type == pa.timestamp("us", "UTC")


def test_a_column_in_many_chunks_is_read_whole():
    rows = pa.table({"x": pa.chunked_array([[1], [], [2]], pa.int64())})
    assert evaluate(rows, parse_expression("x"), of="the rows").to_pylist() == [1.0, 2.0]
