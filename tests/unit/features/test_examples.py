"""Examples: the request, the features as of the prediction, the label when it is known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from raypipe.errors import ConfigError
from raypipe.features.examples import build_examples, examples_schema, label_columns, source_columns
from raypipe.features.view import FeaturesSpec, LabelSpec

UTC_TIME = pa.timestamp("us", "UTC")
NOON = datetime(2013, 1, 1, 12, tzinfo=UTC)
FEATURES = FeaturesSpec.model_validate(
    {
        "spine": "schedules",
        "prediction_time": "departure_at - 2h",
        "request": ["departure_at", "distance"],
        "views": [
            {"name": "weather", "entity": ["origin"], "source": "weather", "ttl": "6h", "columns": ["temp"]},
            {
                "name": "origin",
                "entity": ["origin"],
                "source": "arrivals",
                "aggregate": {"late_1d": {"mean": "delay > 15", "over": "1d"}, "n_1d": {"count": "*", "over": "1d"}},
            },
        ],
    }
)
LABEL = LabelSpec.model_validate({"name": "late", "source": "arrivals", "from": "delay > 15", "matures_within": "2d"})


def hours(*offsets: float | None) -> pa.Array:
    return pa.array([None if h is None else NOON + timedelta(hours=h) for h in offsets], UTC_TIME)


def spine() -> pa.Table:
    return pa.table(
        {
            "event_id": ["a", "b", "c"],
            "event_at": hours(0, 5, 10),
            "known_at": hours(-200, -200, -200),
            "departure_at": hours(0, 5, 10),
            "distance": pa.array([700, None, 90], pa.int64()),
            "origin": ["JFK", "JFK", "LGA"],
        }
    )


def weather() -> pa.Table:
    return pa.table(
        {"event_at": hours(-3, 1, 4), "known_at": hours(-3, 1, 4), "origin": ["JFK"] * 3, "temp": [30, 40, 99]}
    )


def arrivals(ids: list[str], known: list[float | None], delays: list[float | None]) -> pa.Table:
    at = {"a": 0, "b": 5, "c": 10, "z": -8}
    return pa.table(
        {
            "event_id": pa.array(ids, pa.string()),
            "event_at": hours(*(at[i] for i in ids)),
            "known_at": hours(*known),
            "origin": pa.array(["JFK"] * len(ids), pa.string()),
            "delay": pa.array(delays, pa.float64()),
        }
    )


def examples(labels: pa.Table, spine_rows: pa.Table | None = None) -> pa.Table:
    return build_examples(
        spine=spine() if spine_rows is None else spine_rows,
        sources={"weather": weather(), "arrivals": labels},
        features=FEATURES,
        label=LABEL,
        label_rows=labels,
    )


def test_an_example_holds_the_request_what_was_known_and_the_truth():
    got = examples(arrivals(["z", "a"], [-7, 3.5], [20.0, 0.0]))
    assert got.column_names == [
        *("event_id", "event_at", "prediction_at", "known_at"),
        *("departure_at", "distance", "weather__temp", "origin__late_1d", "origin__n_1d"),
        "label",
    ]
    assert got.column("prediction_at").to_pylist() == hours(-2, 3, 8).to_pylist()
    assert got.column("distance").to_pylist() == [700, None, 90]
    # b is predicted at 15:00: the arrival of a is known at 15:30 only, the weather of 16:00 not at all.
    assert got.column("weather__temp").to_pylist() == [30.0, 40.0, None]
    assert got.column("origin__late_1d").to_pylist() == [1.0, 1.0, None]
    assert got.column("origin__n_1d").to_pylist() == [1.0, 1.0, 0.0]
    assert got.column("label").to_pylist() == [0.0, None, None]
    assert got.column("known_at").to_pylist() == hours(3.5, None, None).to_pylist()


def test_a_label_row_without_a_value_is_no_label_and_has_no_time():
    got = examples(arrivals(["a", "b"], [4, 9], [None, float("nan")]))
    assert got.column("label").null_count == 3
    assert got.column("known_at").null_count == 3


def test_of_two_labels_the_last_known_is_the_truth():
    got = examples(arrivals(["a", "a", "a"], [4, 30, 5], [99.0, 0.0, 99.0]))
    assert got.column("label").to_pylist()[0] == 0.0
    assert got.column("known_at").to_pylist()[0] == hours(30)[0].as_py()


def test_a_row_further_from_the_event_than_maturity_is_not_its_label():
    near, far = arrivals(["a"], [4], [0.0]), arrivals(["a"], [90], [99.0])
    for offset, wanted in ((48, 1.0), (-48, 1.0), (48.001, 0.0), (-48.001, 0.0)):
        moved = far.set_column(1, "event_at", hours(offset))
        assert examples(pa.concat_tables([near, moved])).column("label").to_pylist()[0] == wanted


def test_spine_rows_are_kept_in_order_even_when_an_event_id_repeats_or_is_missing():
    rows = spine().take([2, 0, 0, 1]).set_column(0, "event_id", pa.array(["c", "a", "a", None]))
    got = examples(arrivals(["a"], [4], [50.0]), rows)
    assert got.column("event_id").to_pylist() == ["c", "a", "a", None]
    assert got.column("label").to_pylist() == [None, 1.0, 1.0, None]


def test_a_spine_cut_anywhere_gives_the_same_examples():
    labels = arrivals(["z", "a", "b"], [-7, 2.5, 9], [20.0, 0.0, 70.0])
    parts = [examples(labels, spine().slice(i, 1)) for i in range(3)]
    assert pa.concat_tables(parts).equals(examples(labels))


def test_the_schema_is_known_before_there_is_a_row():
    labels = arrivals(["a"], [4], [0.0])
    schemas = {"weather": weather().schema, "arrivals": labels.schema}
    schema = examples_schema(spine=spine().schema, sources=schemas, features=FEATURES, label=LABEL)
    assert schema == examples(labels).schema
    assert schema.field("distance").type == pa.int64()
    assert schema.field("weather__temp").type == pa.float64()


def test_only_the_columns_that_are_read_are_named():
    schema = arrivals([], [], []).append_column("seat", pa.array([], pa.string())).schema
    assert source_columns(FEATURES, "arrivals", schema) == ["event_id", "event_at", "known_at", "origin", "delay"]
    assert label_columns(LABEL) == ["event_id", "event_at", "known_at", "delay"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"request": ["departure_at", "label"]}, "'label' has the name of a column that every example has"),
        ({"request": ["distance", "distance"]}, "2 features are named 'distance'"),
        ({"request": ["distanec"]}, "did you mean 'distance'"),
        ({"prediction_time": "distance - 2h"}, "timestamp is needed, and 'distance' of the spine is of type int64"),
    ],
)
def test_a_wrong_specification_says_what_is_wrong(change, message):
    features = FeaturesSpec.model_validate(FEATURES.model_dump(mode="json") | change)
    labels = arrivals(["a"], [4], [0.0])
    with pytest.raises(ConfigError, match=message):
        build_examples(
            spine=spine(),
            sources={"weather": weather(), "arrivals": labels},
            features=features,
            label=LABEL,
            label_rows=labels,
        )


def test_a_view_on_a_source_that_is_not_there_names_both():
    labels = arrivals(["a"], [4], [0.0])
    with pytest.raises(ConfigError, match="view `weather` reads source `weather`, and there are arrivals"):
        build_examples(spine=spine(), sources={"arrivals": labels}, features=FEATURES, label=LABEL, label_rows=labels)
