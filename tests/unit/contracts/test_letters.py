"""The text of a refused row is read again as the row that it was, whatever its format; values are masked by contract."""

import json
from datetime import UTC, datetime, time

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.contracts.contract import Contract, Field
from raypipe.contracts.formats import read_rows
from raypipe.contracts.letters import MASK, masked, rows_of, types_of
from raypipe.contracts.rows import ROW, RawPart, as_json

INSTANT = st.datetimes()
KINDS = {
    pl.Boolean(): st.booleans(),
    pl.Int8(): st.integers(-(2**7), 2**7 - 1),
    pl.Int64(): st.integers(-(2**63), 2**63 - 1),
    pl.UInt64(): st.integers(0, 2**64 - 1),
    pl.Float32(): st.floats(width=32),
    pl.Float64(): st.floats(),
    pl.String(): st.text(st.characters(exclude_categories=["Cs"])),
    pl.Date(): st.dates(),
    pl.Datetime("us"): INSTANT,
    pl.Datetime("us", "UTC"): INSTANT,
    pl.Datetime("ms"): INSTANT.map(lambda t: t.replace(microsecond=t.microsecond // 1000 * 1000)),
    pl.Datetime("ns", "UTC"): st.integers(-(2**63) + 1, 2**63 - 1),
    pl.Decimal(20, 3): st.decimals(-(10**15), 10**15, places=3),
    pl.Null(): st.none(),
}


@st.composite
def frames(draw):
    rows = draw(st.integers(1, 4))
    columns = {ROW: pl.Series(range(rows), dtype=pl.Int64)}
    for i, kind in enumerate(draw(st.lists(st.sampled_from(list(KINDS)), max_size=6))):
        values = draw(st.lists(st.none() | KINDS[kind], min_size=rows, max_size=rows))
        whole = isinstance(kind, pl.Datetime) and kind.time_unit == "ns"
        columns[f"c{i}"] = pl.Series(values, dtype=pl.Int64 if whole else kind, strict=False).cast(kind)
    return pl.DataFrame(columns)


@given(frames(), st.booleans())
def test_a_typed_row_is_read_again_exactly(frame, slow):
    if slow:  # a column of a type that no contract takes goes another way
        frame = frame.with_columns(pl.lit(b"\xff").alias("bytes"))
    (part,) = rows_of(as_json(frame).to_list(), [types_of(RawPart(frame))] * frame.height).parts
    again = part.frame.drop("bytes", strict=False)
    assert not part.text
    assert again.schema == frame.drop("bytes", strict=False).schema
    assert again.equals(frame.drop("bytes", strict=False), null_equal=True)


@pytest.mark.parametrize("value", [[1], {"a": 1}, time(1), b"\xff"])
def test_of_a_type_that_no_contract_takes_only_that_it_is_there_is_known(value):
    frame = pl.DataFrame({ROW: [0, 1], "c": [value, None]})
    (part,) = rows_of(as_json(frame).to_list(), [types_of(RawPart(frame))] * 2).parts
    assert part.frame["c"].is_null().to_list() == [False, True]


def test_a_time_with_another_zone_is_the_same_instant():
    at = pl.Series([datetime(2020, 7, 1, 12, tzinfo=UTC)]).dt.convert_time_zone("Europe/Berlin")
    frame = pl.DataFrame({ROW: [0], "at": at})
    (part,) = rows_of(as_json(frame).to_list(), [types_of(RawPart(frame))]).parts
    assert part.frame["at"].to_list() == [datetime(2020, 7, 1, 12, tzinfo=UTC)]


def test_nanoseconds_beside_nested_values_stay_in_the_text():
    frame = pl.DataFrame({ROW: [0], "at": pl.Series([1_356_998_400_123_456_789]).cast(pl.Datetime("ns")), "x": [[1]]})
    assert json.loads(as_json(frame)[0])["at"] == "2013-01-01T00:00:00.123456789"


def test_lines_and_rows_of_several_objects_keep_their_places():
    text = read_rows(b"a,b\n1,\n2,x\n", "csv").parts[0]
    typed = RawPart(pl.DataFrame({ROW: [0], "a": [3]}))
    raw = [*as_json(text.frame), '{"a": 4}', *as_json(typed.frame), '{"a": "5"}']
    types = [types_of(text), types_of(text), None, types_of(typed), None]
    parts = rows_of(raw, types).parts
    placed = {place: (value, p.text) for p in parts for place, value in p.frame.select(ROW, "a").iter_rows()}
    assert placed == {0: ("1", True), 1: ("2", True), 2: (4, False), 3: (3, False), 4: ("5", False)}


def test_a_line_that_is_no_row_is_malformed_in_its_place():
    rows = rows_of(['{"a": 1}', "{oops"], [None, None])
    assert rows.malformed.to_pylist() == [{"row": 1, "raw": "{oops", "reason": "malformed(json)"}]


CONTRACT = Contract(
    "people",
    "1",
    (
        Field("city", pa.string(), classification="Public"),
        Field("name", pa.string(), classification="PII"),
        Field("age", pa.int64()),
    ),
    ("name",),
    "at",
)
PUBLIC = Contract("towns", "1", (Field("city", pa.string(), classification="public"),), ("city",), "at")


def test_only_public_values_are_shown():
    raw = '{"city": "Rome", "name": "Ann", "age": 7, "other": 1, "gone": null}'
    shown = {"city": "Rome", "name": MASK, "age": MASK, "other": MASK, "gone": None}
    assert json.loads(masked(raw, CONTRACT)) == shown
    assert set(json.loads(masked(raw, None)).values()) == {MASK, None}


def test_text_without_columns_is_shown_only_where_all_are_public():
    assert masked("Rome,Ann", CONTRACT) == masked("Rome,Ann", None) == masked("[1]", CONTRACT) == MASK
    assert masked("Rome,", PUBLIC) == "Rome,"
