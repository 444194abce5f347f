"""MLflow's scoring protocol: four JSON shapes and CSV mean the same table; the rest is refused by name."""

from __future__ import annotations

import math
from contextlib import suppress

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.columns import Column
from raypipe.errors import BadRequest
from raypipe.protocol.invocations import (
    UnsupportedMediaType,
    error_body,
    parse_invocations,
    predictions_answer,
)

COLUMNS = (
    Column("at", "timestamp"),
    Column("carrier", "string"),
    Column("distance", "int64"),
    Column("temp", "float64"),
    Column("hub", "bool"),
)
ROWS = [
    {"at": "2013-01-01T10:15:00Z", "carrier": "UA", "distance": 1400, "temp": 39.5, "hub": True},
    {"at": "2013-01-01T11:15:00Z", "carrier": None, "distance": None, "temp": None, "hub": False},
]
SPLIT = {"columns": list(ROWS[0]), "index": [0, 1], "data": [list(row.values()) for row in ROWS]}
SHAPES = {
    "dataframe_split": SPLIT,
    "dataframe_records": ROWS,
    "instances": ROWS,
    "inputs": {name: [row[name] for row in ROWS] for name in ROWS[0]},
}
CSV = b"hub,at,carrier,distance,temp\nTrue,2013-01-01T10:15:00Z,UA,1400,39.5\n0,2013-01-01T11:15:00Z,,,NaN\n"


def parse(body, content_type="application/json", **limits):
    body = body if isinstance(body, bytes) else orjson.dumps(body)
    return parse_invocations(body, content_type, COLUMNS, **limits)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_json_shape_means_the_same_table(shape):
    table = parse({shape: SHAPES[shape], "params": {"ignored": 1}}, "application/json; charset=UTF-8")
    assert table == parse({"dataframe_split": SPLIT})
    assert table.schema.types == [c.arrow for c in COLUMNS]


def test_csv_with_a_header_means_the_same_table():
    assert parse(CSV, "text/csv; charset=utf-8") == parse({"dataframe_split": SPLIT})


def test_a_nan_in_json_is_the_null_that_data_frames_mean():
    body = orjson.dumps({"dataframe_records": [ROWS[0]]}).replace(b"39.5", b"NaN")
    assert parse(body)["temp"].to_pylist() == [None]
    with pytest.raises(BadRequest, match="not JSON"):
        parse(body.replace(b"1400", b"Infinity"))
    with pytest.raises(BadRequest, match="beyond what a double holds"):
        parse(body.replace(b"1400", b"1e999"))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "none of dataframe_split, dataframe_records"),
        ({"instances": ROWS, "inputs": ROWS}, "instances, inputs of"),
        ({"dataframe_split": ROWS}, "must be an object"),
        ({"dataframe_split": {"columns": ["at"]}}, "needs `columns`"),
        ({"dataframe_split": SPLIT | {"data": [[1]]}}, "not a list of 5 values"),
        ({"dataframe_split": SPLIT | {"columns": ["at"] * 5}}, "names a column twice"),
        ({"dataframe_split": SPLIT | {"data": []}}, "no rows"),
        ({"dataframe_records": [ROWS[0], {"at": 1}]}, "`dataframe_records[1]`"),
        ({"dataframe_records": []}, "missing (5 of 5"),
        ({"instances": [1.0]}, "`instances[0]`"),
        ({"instances": 3}, "must be a list of objects"),
        ({"inputs": {"at": 3}}, "`inputs.at` is not a list"),
        ({"dataframe_records": [ROWS[0] | {"extra": 1}]}, "column `extra` is not one of the model's"),
        ({"dataframe_records": ROWS * 6}, "`dataframe_records` has 12 rows, at most 10"),
        (b"[1", "not JSON"),
        (b"[1]", "not a JSON object"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(body, words):
    with pytest.raises(BadRequest) as refusal:
        parse(body, max_rows=10)
    assert words in refusal.value.message
    assert not isinstance(refusal.value, UnsupportedMediaType)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (CSV.replace(b"1400", b"many"), 'column `distance` row 0 is "many"'),
        (CSV.replace(b"1400", b"1.5"), "row 0 is 1.5: it must be a whole number"),
        (CSV.replace(b"NaN", b"inf"), 'column `temp` row 1 is "inf"'),
        (CSV.replace(b"True", b"yes"), 'column `hub` row 0 is "yes"'),
        (CSV.replace(b"hub", b"at"), "names a column twice"),
        (CSV.replace(b"UA", b"U,A"), "CSV row 0 has 6 fields, the header has 5"),
        (CSV.replace(b"UA", b"\xff"), "not CSV in UTF-8"),
        (CSV.replace(b"UA", b'"UA'), "not CSV"),
        (b"", "missing (5 of 5"),
        (b"at,carrier,distance,temp,hub\n", "no rows"),
    ],
)
def test_csv_that_does_not_fit_is_refused_by_name(body, words):
    with pytest.raises(BadRequest) as refusal:
        parse(body, "text/csv")
    assert words in refusal.value.message


@pytest.mark.parametrize("content_type", ["", "application/xml", "application/json; charset=latin-1", "text/plain"])
def test_another_format_or_charset_is_unsupported(content_type):
    with pytest.raises(UnsupportedMediaType):
        parse({"instances": ROWS}, content_type)


def test_answers_and_errors_look_as_mlflow_writes_them():
    assert predictions_answer(np.array([0.5, math.inf])) == b'{"predictions":[0.5,null]}'
    assert error_body("why") == b'{"error_code":"BAD_REQUEST","message":"why"}'


@given(st.binary(max_size=200), st.sampled_from(["application/json", "text/csv"]))
def test_any_bytes_are_either_read_or_refused_in_words(body, content_type):
    with suppress(BadRequest):
        parse(body, content_type)
