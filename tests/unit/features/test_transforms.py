"""The inputs of a row are the same in training and in serving, alone or in any batch."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.columns import Column
from raypipe.features.transforms import CLIP, TransformState, fit
from raypipe.profile import Profile

COLUMNS = (
    Column("x", "float64"),
    Column("n", "int64"),
    Column("b", "bool"),
    Column("s", "string"),
    Column("at", "timestamp"),
)
SCHEMA = pa.schema([(c.name, c.arrow) for c in COLUMNS])
NEW_YORK = "America/New_York"
# Bounds of hypothesis are naive; the time zone is its own argument.
_FIRST, _LAST = (datetime(year, 1, 1) for year in (1960, 2040))  # noqa: DTZ001
row_strategy = st.fixed_dictionaries(
    {
        "x": st.one_of(st.none(), st.floats()),
        "n": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
        "b": st.one_of(st.none(), st.booleans()),
        "s": st.one_of(st.none(), st.sampled_from(["a", "b", "never seen", ""])),
        "at": st.one_of(st.none(), st.datetimes(min_value=_FIRST, max_value=_LAST, timezones=st.just(UTC))),
    }
)


def table(rows: list[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def fitted() -> TransformState:
    at = datetime(2013, 1, 1, 12, tzinfo=UTC)
    rows = [{"x": float(i), "n": i, "b": i % 2 == 0, "s": "ab"[i % 2], "at": at} for i in range(10)]
    return fit(Profile.of(table(rows)), COLUMNS, NEW_YORK)


STATE = fitted()


def inputs(**row: object) -> dict[str, float]:
    matrix = STATE.apply(table([{c.name: row.get(c.name) for c in COLUMNS}]))
    return dict(zip(STATE.inputs, matrix[0].tolist(), strict=True))


@given(st.lists(row_strategy, max_size=12), st.integers(0, 12))
def test_inputs_do_not_depend_on_the_batch_and_are_finite(rows: list[dict[str, object]], at: int) -> None:
    whole = STATE.apply(table(rows))
    parts = np.concatenate([STATE.apply(table(rows[:at])), STATE.apply(table(rows[at:]))])
    assert whole.dtype == np.float32
    assert whole.shape == (len(rows), len(STATE.inputs))
    assert np.isfinite(whole).all()
    assert np.array_equal(whole, parts)


@given(row_strategy)
def test_a_state_read_back_from_json_applies_alike(row: dict[str, object]) -> None:
    again = TransformState.model_validate_json(STATE.model_dump_json())
    assert again == STATE
    assert np.array_equal(again.apply(table([row])), STATE.apply(table([row])))


def test_a_number_is_standardised_and_clipped() -> None:
    assert inputs(x=4.5)["x"] == 0.0
    assert inputs(x=4.5 + np.std(range(10), ddof=1))["x"] == pytest.approx(1.0)
    assert inputs(x=1e9)["x"] == CLIP


@pytest.mark.parametrize("missing", [None, math.nan, math.inf])
def test_a_missing_number_is_the_mean_and_says_so(missing: float | None) -> None:
    assert (inputs(x=missing)["x"], inputs(x=missing)["x:missing"]) == (0.0, 1.0)
    assert inputs(x=1.0)["x:missing"] == 0.0


@pytest.mark.parametrize(("value", "slot"), [("a", "s=a"), ("b", "s=b"), ("new", "s:other"), (None, "s:missing")])
def test_exactly_one_input_of_a_category_is_one(value: str | None, slot: str) -> None:
    assert {name: v for name, v in inputs(s=value).items() if name.startswith("s") and v} == {slot: 1.0}


@pytest.mark.parametrize("at", [datetime(2013, 1, 8, 2, 30, tzinfo=UTC), datetime(2013, 7, 9, 15, tzinfo=UTC)])
def test_a_clock_is_read_in_the_time_zone_across_daylight_saving(at: datetime) -> None:
    local, found = at.astimezone(ZoneInfo(NEW_YORK)), inputs(at=at)
    angle = 2 * math.pi * (local.hour * 60 + local.minute) / 1440
    assert found["at:sin1"] == pytest.approx(math.sin(angle), abs=1e-6)
    assert found["at:cos2"] == pytest.approx(math.cos(2 * angle), abs=1e-6)
    weekdays = [d for d in range(7) if found[f"at:weekday{d}"]]
    assert weekdays == [local.weekday()]


def test_a_missing_time_has_no_clock() -> None:
    assert {name for name, v in inputs(at=None).items() if name.startswith("at") and v} == {"at:missing"}


def test_a_constant_column_stays_finite() -> None:
    columns = (Column("x", "float64"),)
    state = fit(Profile.of(pa.table({"x": [3.0, 3.0]})), columns)
    assert state.apply(pa.table({"x": [3.0, 4.0]})).tolist() == [[0.0, 0.0], [1.0, 0.0]]


def test_transforms_fitted_on_merged_parts_are_those_of_the_whole() -> None:
    values = np.random.default_rng(0).normal(size=1000)
    whole, columns = (
        pa.table({"x": values, "s": np.where(values > 0, "p", "m")}),
        (Column("x", "float64"), Column("s", "string")),
    )
    merged = Profile.of(whole.slice(0, 300)).merge(Profile.of(whole.slice(300)))
    one, two = fit(merged, columns), fit(Profile.of(whole), columns)
    assert np.allclose(one.apply(whole), two.apply(whole), atol=1e-6)


def test_a_time_zone_without_such_a_name_is_refused() -> None:
    with pytest.raises(ZoneInfoNotFoundError):
        fit(Profile.empty(), (), "Mars/Olympus")
