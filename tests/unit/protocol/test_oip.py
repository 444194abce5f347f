"""Open Inference Protocol v2: what is understood, what is refused, and that a refusal names the field."""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import UTC, datetime

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.columns import Column
from raypipe.errors import BadRequest
from raypipe.protocol.oip import (
    InferRequest,
    Origin,
    infer_answer,
    infer_body,
    model_metadata,
    parse_infer,
    parse_scores,
)

COLUMNS = (
    Column("departure_at", "timestamp"),
    Column("carrier", "string"),
    Column("distance", "int64"),
    Column("temp", "float64"),
    Column("hub", "bool"),
)


def tensor(name, datatype, data, shape=None):
    return {"name": name, "shape": shape or [len(data)], "datatype": datatype, "data": data}


def inputs(**changes):
    tensors = {
        "departure_at": tensor("departure_at", "BYTES", ["2013-01-01T10:15:00Z", "2013-01-01T05:15:00.5-05:00"]),
        "carrier": tensor("carrier", "BYTES", ["UA", None]),
        "distance": tensor("distance", "INT64", [1400, 2475]),
        "temp": tensor("temp", "FP64", [39.5, 40]),
        "hub": tensor("hub", "BOOL", [True, False]),
    }
    return [t for t in (tensors | changes).values() if t is not None]


def parse(tensors, **fields):
    return parse_infer(orjson.dumps({"inputs": tensors, **fields}), COLUMNS, max_rows=100)


def test_tensors_in_any_order_become_columns_in_the_models_order():
    request = parse(list(reversed(inputs())), id="r1", parameters={"content_type": "pd", "binary_data_output": True})
    assert request.id == "r1"
    assert request.table.schema.names == [c.name for c in COLUMNS]
    assert request.table.schema.types == [c.arrow for c in COLUMNS]
    assert request.table.to_pylist() == [
        {
            "departure_at": datetime(2013, 1, 1, 10, 15, tzinfo=UTC),
            "carrier": "UA",
            "distance": 1400,
            "temp": 39.5,
            "hub": True,
        },
        {
            "departure_at": datetime(2013, 1, 1, 10, 15, 0, 500_000, tzinfo=UTC),
            "carrier": None,
            "distance": 2475,
            "temp": 40.0,
            "hub": False,
        },
    ]


def test_nested_and_flat_data_of_a_column_mean_the_same():
    nested = parse(inputs(distance=tensor("distance", "INT32", [[1], [2]], [2, 1])))
    flat = parse(inputs(distance=tensor("distance", "INT32", [1, 2], [2, 1])))
    assert nested.table == flat.table


def test_an_integer_column_sent_as_whole_floats_loses_nothing():
    request = parse(inputs(distance=tensor("distance", "FP64", [1400.0, None])))
    assert request.table["distance"].to_pylist() == [1400, None]


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        (inputs(carrier=None), "input `carrier` is missing (1 of 5"),
        (inputs(carrier=tensor("carier", "BYTES", ["UA", "AA"])), "did you mean `carrier`"),
        ([*inputs(), tensor("extra", "BYTES", ["a", "b"])], "input `extra` is not one of the model's"),
        ([*inputs(), tensor("carrier", "BYTES", ["UA", "AA"])], "input `carrier` is given twice"),
        (inputs(temp=tensor("temp", "FP64", [1.0, 2.0], [3])), "has 2 values, its shape says 3"),
        (inputs(temp=tensor("temp", "FP64", [1.0], [1])), "input `temp` has 1 rows, `departure_at` has 2"),
        (inputs(temp=tensor("temp", "FP64", [1.0, 2.0], [1, 2])), "so [n] or [n, 1]"),
        (inputs(temp=tensor("temp", "FP64", [1.0, 2.0], [2.0])), "it must be [n] or [n, 1]"),
        (inputs(temp=tensor("temp", "FP64", [1.0, 2.0], [101])), "at most 100 fit"),
        (inputs(temp=tensor("temp", "BYTES", ["1", "2"])), 'has datatype "BYTES": a float64 column is sent as FP32'),
        (inputs(temp=tensor("temp", "FP16", [1.0, 2.0])), 'has datatype "FP16"'),
        (inputs(temp=tensor("temp", "FP64", [1.0, "2"])), 'input `temp` row 1 is "2": it must be a number'),
        (inputs(temp=tensor("temp", "FP64", [1.0, True])), "input `temp` row 1 is true"),
        (inputs(temp=tensor("temp", "FP64", [[1.0], 2.0], [2, 1])), "has one value in each row"),
        (inputs(distance=tensor("distance", "FP64", [1400.5, 1.0])), "row 0 is 1400.5: it must be a whole number"),
        (inputs(distance=tensor("distance", "INT8", [128, 1])), "row 0 is 128: INT8 holds -128 to 127"),
        (inputs(distance=tensor("distance", "UINT64", [2**64 - 1, 1])), "int64 cannot hold"),
        (inputs(hub=tensor("hub", "BOOL", [1, 0])), "it must be true or false"),
        (inputs(departure_at=tensor("departure_at", "INT64", [1, 2])), "a timestamp column is sent as BYTES"),
        (inputs(departure_at=tensor("departure_at", "BYTES", ["2013-01-01T10:15:00", None])), "with an offset"),
        (inputs(departure_at=tensor("departure_at", "BYTES", ["tomorrow", None])), "with an offset"),
        (inputs(temp={"name": "temp", "shape": [2], "datatype": "FP64", "parameters": {"binary_data_size": 16}}),
         "binary_data=False"),
        ([], "is missing (5 of 5"),
        ([3], "`inputs[0]` has no name"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(tensors, words):
    with pytest.raises(BadRequest) as refusal:
        parse(tensors)
    assert words in refusal.value.message


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "`inputs` is missing"),
        (b'{"id": 3}', "`id` is 3"),
        (b'{"parameters": {"content_type": "np"}}', "content_type"),
        (b'{"parameters": []}', "`parameters`"),
        (b'{"inputs": [' + b"[" * 5000 + b"]" * 5000 + b"]}", "not JSON"),
        (b'{"id": ' + b"[" * 900 + b"]" * 900 + b"}", "`id` is a list of 1"),
    ],
)
def test_a_body_that_is_not_a_request_is_refused(body, words):
    with pytest.raises(BadRequest) as refusal:
        parse_infer(body, COLUMNS)
    assert words in refusal.value.message


def test_a_deeply_nested_cell_is_refused_and_not_shown_whole():
    body = b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [' + b"[" * 900 + b"]" * 900 + b"]}]}"
    with pytest.raises(BadRequest, match="row 0 is a list of 1"):
        parse_infer(body, (Column("x", "float64"),))


def test_no_rows_are_no_request():
    with pytest.raises(BadRequest, match="no rows"):
        parse_infer(
            b'{"inputs": [{"name": "x", "shape": [0], "datatype": "FP64", "data": []}]}', (Column("x", "float64"),)
        )


def test_outputs_can_be_chosen_and_an_unknown_one_is_refused():
    assert parse(inputs(), outputs=[{"name": "score"}]).outputs == ("score",)
    with pytest.raises(BadRequest, match=r'`outputs\[0\]` asks for "probability"'):
        parse(inputs(), outputs=[{"name": "probability"}])


def test_an_answer_names_who_answered_and_echoes_the_id():
    request = InferRequest("r1", pa.table({"x": [1, 2]}))
    answer = orjson.loads(
        infer_answer(request, np.array([0.25, math.nan]), Origin("flights", "3", 7, rollout="f-1"), request_id="q")
    )
    assert answer == {
        "model_name": "flights",
        "model_version": "3",
        "id": "r1",
        "parameters": {"epoch": 7, "arm": "champion", "rollout": "f-1"},
        "outputs": [{"name": "score", "datatype": "FP64", "shape": [2], "data": [0.25, None]}],
    }


def test_a_client_reads_the_scores_that_were_sent():
    request = InferRequest(None, pa.table({"x": [1, 2]}))
    answer = infer_answer(request, np.array([0.25, math.nan]), Origin("m", "3", 7), request_id="q")
    version, scores = parse_scores(answer)
    assert version == "3"
    np.testing.assert_array_equal(scores, [0.25, math.nan])


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"model_version": "1", "outputs": []}',
                                  b'{"model_version": "1", "outputs": [{"data": ["a"]}]}'])  # fmt: skip
def test_an_answer_that_is_none_is_told(body):
    with pytest.raises(BadRequest, match="is not an answer"):
        parse_scores(body)


def test_without_an_id_the_request_id_stands_in():
    answer = infer_answer(
        InferRequest(None, pa.table({"x": [1]})), np.array([0.5]), Origin("m", "1", 1), request_id="q"
    )
    assert orjson.loads(answer)["id"] == "q"


def test_metadata_states_the_datatypes_that_requests_use():
    metadata = orjson.loads(model_metadata("flights", ["3"], COLUMNS))
    assert [(t["name"], t["datatype"], t["shape"]) for t in metadata["inputs"]] == [
        ("departure_at", "BYTES", [-1]),
        ("carrier", "BYTES", [-1]),
        ("distance", "INT64", [-1]),
        ("temp", "FP64", [-1]),
        ("hub", "BOOL", [-1]),
    ]
    assert metadata["versions"] == ["3"]


rows = st.lists(
    st.tuples(
        st.none() | st.datetimes(timezones=st.just(UTC)),
        st.none() | st.text(st.characters(exclude_categories=["Cs"])),
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
        st.none() | st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


@given(rows)
def test_every_typed_row_survives_the_wire(rows):
    moments, carriers, distances, temps, hubs = (list(cells) for cells in zip(*rows, strict=True))
    request = parse(
        [
            tensor("departure_at", "BYTES", [m and m.isoformat() for m in moments]),
            tensor("carrier", "BYTES", carriers),
            tensor("distance", "INT64", distances),
            tensor("temp", "FP64", temps),
            tensor("hub", "BOOL", hubs),
        ]
    )
    assert [tuple(row.values()) for row in request.table.to_pylist()] == rows
    assert parse_infer(infer_body(request.table, COLUMNS), COLUMNS).table == request.table


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
    max_leaves=4,
)
good = inputs()


@given(
    tensor=st.sampled_from(range(len(good))),
    field=st.sampled_from(["name", "shape", "datatype", "data", "parameters"]),
    value=json_values | st.lists(json_values, min_size=2, max_size=2),
)
def test_a_tensor_with_any_one_field_replaced_is_either_read_or_refused_in_words(tensor, field, value):
    body = orjson.dumps({"inputs": [t | {field: value} if i == tensor else t for i, t in enumerate(good)]})
    with suppress(BadRequest):
        assert parse_infer(body, COLUMNS).table.num_rows == 2


@given(st.sampled_from(["id", "inputs", "outputs", "parameters"]), json_values)
def test_a_request_with_any_one_field_replaced_is_either_read_or_refused_in_words(field, value):
    body = orjson.dumps({"inputs": good} | {field: value})
    with suppress(BadRequest):
        assert parse_infer(body, COLUMNS).table.num_rows == 2
