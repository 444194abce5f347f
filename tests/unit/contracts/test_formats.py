"""An object's rows are all found: readable, or malformed with their text."""

import gzip
import io
import json
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.contracts.checks import check
from raypipe.contracts.contract import TIMESTAMP, Contract, Field
from raypipe.contracts.formats import Unreadable, read_rows
from raypipe.contracts.rows import LINE, ROW


def rows_of(raw):
    """Return position -> row, over all parts."""
    return {
        row[ROW]: {k: v for k, v in row.items() if k not in (ROW, LINE) and v is not None}
        for part in raw.parts
        for row in part.frame.iter_rows(named=True)
    }


def malformed_of(raw):
    return [(r["row"], r["raw"], r["reason"]) for r in raw.malformed.to_pylist()]


def test_csv_is_text_and_empty_is_null():
    raw = read_rows(b'a,b\n1,x\n007,""\n', "csv")
    assert rows_of(raw) == {0: {"a": "1", "b": "x"}, 1: {"a": "007"}}


def test_csv_rows_of_another_width_are_malformed_and_the_rest_go_on():
    raw = read_rows(b'a,b\n1,2\n3\n"x\ny",5\n4,5,6\n\n7,8', "csv")
    assert rows_of(raw) == {0: {"a": "1", "b": "2"}, 2: {"a": "x\ny", "b": "5"}, 4: {"a": "7", "b": "8"}}
    assert malformed_of(raw) == [(1, "3", "malformed(columns)"), (3, "4,5,6", "malformed(columns)")]


def test_a_broken_row_is_numbered_across_blocks_of_the_reader():
    lines = [f"{i},x" for i in range(400_000)]
    lines[399_000] = "alone"
    raw = read_rows(("a,b\n" + "\n".join(lines)).encode(), "csv")
    assert malformed_of(raw) == [(399_000, "alone", "malformed(columns)")]
    assert raw.parts[0].frame.filter(pl.col(ROW) == 399_999)["a"].to_list() == ["399999"]


def test_csv_that_is_not_utf8_loses_only_those_rows():
    raw = read_rows(b"a,b\n1,\xff\n2,ok\n", "csv")
    assert rows_of(raw) == {1: {"a": "2", "b": "ok"}}
    assert malformed_of(raw) == [(0, "1,\\xff", "malformed(encoding)")]


def test_a_byte_order_mark_is_not_part_of_a_name():
    assert rows_of(read_rows(b"\xef\xbb\xbfa,b\r\n1,2\r\n", "csv")) == {0: {"a": "1", "b": "2"}}
    assert rows_of(read_rows(b'\xef\xbb\xbf{"a":1}\r\n', "jsonl")) == {0: {"a": 1}}


@pytest.mark.parametrize("data", [b"a,b\n", b"a,b"])
def test_a_header_alone_has_no_rows(data):
    assert read_rows(data, "csv").num_rows == 0


@pytest.mark.parametrize(
    ("data", "format", "uri"),
    [
        (b"", "csv", ""),
        (b"a,a\n1,2\n", "csv", ""),
        (b"\0row,a\n1,2\n", "csv", ""),
        (b"PAR1 no", "parquet", ""),
        (b"", "parquet", ""),
        (b"plain", "csv", "x.csv.gz"),
    ],
)
def test_an_object_of_another_format_is_unreadable(data, format, uri):
    with pytest.raises(Unreadable):
        read_rows(data, format, uri=uri)


def test_compressed_text_is_read_by_its_suffix():
    assert rows_of(read_rows(gzip.compress(b'{"a":1}\n'), "jsonl", uri="s3://b/x.jsonl.gz")) == {0: {"a": 1}}


def test_parquet_keeps_its_types():
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": pa.array([1, None], pa.int32()), "b": [[1], []]}), sink)
    raw = read_rows(sink.getvalue(), "parquet")
    assert raw.parts[0].frame.schema["a"] == pl.Int32
    assert raw.num_rows == 2


def test_broken_json_lines_are_malformed_and_the_rest_go_on():
    lines = [b'{"a":1}', b'{"a":', b"", b"[1]", b"7", b'{"a":"\xff"}', b'{"a":2}{"a":3}', b'{"a":NaN}', b'{"a":4}']
    raw = read_rows(b"\n".join(lines), "jsonl")
    assert rows_of(raw) == {0: {"a": 1}, 7: {"a": 4}}
    assert malformed_of(raw) == [
        (1, '{"a":', "malformed(json)"),
        (2, "[1]", "malformed(object)"),
        (3, "7", "malformed(object)"),
        (4, '{"a":"\\xff"}', "malformed(encoding)"),
        (5, '{"a":2}{"a":3}', "malformed(json)"),
        (6, '{"a":NaN}', "malformed(json)"),
    ]


def test_an_object_over_two_lines_is_two_broken_lines():
    raw = read_rows(b'{"a":1,\n"b":2}\n', "jsonl")
    assert [r for _, _, r in malformed_of(raw)] == ["malformed(json)"] * 2


def test_two_objects_on_a_line_are_one_broken_line():
    raw = read_rows(b'{"a":1}\n{"a":2}{"a":3}\n', "jsonl")
    assert rows_of(raw) == {0: {"a": 1}}
    assert malformed_of(raw) == [(1, '{"a":2}{"a":3}', "malformed(json)")]


def test_text_that_looks_like_a_time_stays_text():
    raw = read_rows(b'{"a":1}\n{"a":2,"b":"2013-01-01 10:00:00"}\n', "jsonl")
    assert rows_of(raw)[1]["b"] == "2013-01-01 10:00:00"


def test_a_column_of_two_kinds_loses_no_row_and_no_kind():
    raw = read_rows(b'{"a":12,"b":1.5}\n{"a":"12"}\n{"a":{"x":[]},"b":null}\n{}\n{"a":[]}', "jsonl")
    assert raw.num_rows == 5
    kinds = {row: p.frame.schema.get("a") for p in raw.parts for row in p.frame[ROW]}
    assert kinds[1] == pl.String
    assert kinds[0].is_integer()
    assert kinds[2] == pl.Binary


def test_a_large_integer_is_not_rounded_beside_a_fraction():
    raw = read_rows(b'{"a":9007199254740993}\n{"a":0.5}\n{"a":18446744073709551615}', "jsonl")
    assert rows_of(raw) == {0: {"a": 9007199254740993}, 1: {"a": 0.5}, 2: {"a": 18446744073709551615}}


def test_a_row_cannot_choose_its_own_number():
    raw = read_rows(b'{"\\u0000row": 7}\n{"a": 1}', "jsonl")
    assert rows_of(raw) == {1: {"a": 1}}
    assert raw.malformed.num_rows == 1


def test_no_bytes_are_no_rows():
    assert read_rows(b"", "jsonl").num_rows == 0


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
)
objects = st.dictionaries(st.sampled_from(["a", "b", "c"]), scalars)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.one_of(objects.map(json.dumps), st.text().filter(lambda t: "\n" not in t and "\r" not in t))))
def test_every_line_is_found_once_whatever_it_holds(lines):
    raw = read_rows("\n".join(lines).encode(errors="replace"), "jsonl")
    kept = [line for line in lines if line.strip(" \t\r\n")]
    found = sorted([*rows_of(raw), *raw.malformed["row"].to_pylist()])
    assert found == list(range(len(kept)))


@settings(deadline=None, max_examples=60)
@given(st.lists(objects, min_size=1))
def test_json_values_survive_whatever_stands_beside_them(rows):
    raw = read_rows("\n".join(json.dumps(r) for r in rows).encode(), "jsonl")
    expected = {i: {k: v for k, v in r.items() if v is not None} for i, r in enumerate(rows)}
    assert rows_of(raw) == expected


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.text(st.characters(codec="utf-8", exclude_characters='\0"')), min_size=1, max_size=4)))
def test_every_csv_record_is_found_once(records):
    def field(value):
        return f'"{value}"'

    data = "a,b\n" + "".join(",".join(map(field, r)) + "\n" for r in records)
    raw = read_rows(data.encode(), "csv")
    found = sorted([*rows_of(raw), *raw.malformed["row"].to_pylist()])
    assert found == list(range(len(records)))
    assert raw.malformed.num_rows == sum(len(r) != 2 for r in records)


def _breaking(format, data):
    fields = (
        Field("ride", pa.string(), required=True),
        Field("fare", pa.float64()),
        Field("at", TIMESTAMP, required=True),
    )
    return check(read_rows(data, format), Contract("rides", "1", fields, ("ride",), "at")).breaking


def _parquet(**columns):
    sink = io.BytesIO()
    pl.DataFrame(columns).write_parquet(sink)
    return sink.getvalue()


AT = [datetime(2020, 1, 1, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("format", "data", "expected"),
    [
        ("parquet", _parquet(ride=["a"], fare=[1.0], at=AT), ()),
        ("parquet", _parquet(ride=["a"], at=AT, tip=[2]), ()),
        ("parquet", _parquet(ride=["a"], fare=[None], at=AT), ()),
        ("parquet", _parquet(ride=["a"], fare=["1.0"], at=AT), ("other_type(fare)",)),
        ("parquet", _parquet(ride=[1], fare=[1.0]), ("other_type(ride)", "missing_column(at)")),
        ("parquet", _parquet(ride=[], fare=[], at=[]), ()),
        ("csv", b"ride,fare\na,1\n", ("missing_column(at)",)),
        ("csv", b"ride,fare,at\na,x,yesterday\n", ()),
        ("jsonl", b'{"ride": 1}\n', ()),
    ],
)
def test_a_breaking_change_is_one_of_the_objects_schema_and_not_of_its_rows(format, data, expected):
    assert _breaking(format, data) == expected
