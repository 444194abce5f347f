"""The past trains, the future validates, and no row does both."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.training.split import cut_at, training_rows, validation_rows

TIME = pa.timestamp("us", "UTC")
rows_of_examples = st.lists(
    st.tuples(st.integers(0, 1000), st.one_of(st.none(), st.integers(0, 500))), min_size=2, max_size=80
).filter(lambda rows: len({at for at, delay in rows if delay is not None}) > 1)


def table(rows: list[tuple[int, int | None]]) -> pa.Table:
    known = [None if delay is None else at + delay for at, delay in rows]
    return pa.table(
        {
            "event_id": [str(i) for i in range(len(rows))],
            "prediction_at": pa.array([at for at, _ in rows], TIME),
            "known_at": pa.array(known, TIME),
            "label": pa.array([None if k is None else float(k % 2) for k in known]),
        }
    )


def labelled(examples: pa.Table) -> pa.ChunkedArray:
    return examples.filter(examples["label"].is_valid())["prediction_at"]


@given(rows_of_examples, st.floats(0.05, 0.95))
def test_training_and_validation_are_disjoint_and_the_past_never_knows_the_future(
    rows: list[tuple[int, int | None]], rate: float
) -> None:
    examples = table(rows)
    cut = cut_at(labelled(examples), rate)
    train, validation = training_rows(examples, cut), validation_rows(examples, cut)
    assert not set(train["event_id"].to_pylist()) & set(validation["event_id"].to_pylist())
    assert all(at < cut for at in train["prediction_at"].to_pylist())
    assert all(known <= cut for known in train["known_at"].to_pylist())
    assert all(at >= cut for at in validation["prediction_at"].to_pylist())
    assert not train["label"].null_count
    assert not validation["label"].null_count


@given(rows_of_examples, st.floats(0.05, 0.95))
def test_both_sides_of_the_cut_have_labelled_rows(rows: list[tuple[int, int | None]], rate: float) -> None:
    times = labelled(table(rows)).to_pylist()
    cut = cut_at(pa.chunked_array([times], TIME), rate)
    assert min(times) < cut <= max(times)


@given(rows_of_examples, st.integers(0, 80))
def test_the_split_of_rows_does_not_depend_on_batches(rows: list[tuple[int, int | None]], at: int) -> None:
    examples, cut = table(rows), datetime(1970, 1, 1, 0, 0, 0, 500, tzinfo=UTC)
    parts = [examples.slice(0, at), examples.slice(at)]
    for side in (training_rows, validation_rows):
        assert pa.concat_tables(side(p, cut) for p in parts).equals(side(examples, cut))


def test_the_cut_leaves_the_asked_share_behind_it() -> None:
    cut = cut_at(pa.chunked_array([list(range(1000))], TIME), 0.15)
    assert cut == datetime(1970, 1, 1, 0, 0, 0, 850, tzinfo=UTC)


def test_a_label_known_only_after_the_cut_does_not_train() -> None:
    examples = table([(0, 10), (1, 5000), (900, 1)])
    assert training_rows(examples, datetime(1970, 1, 1, 0, 0, 0, 900, tzinfo=UTC))["event_id"].to_pylist() == ["0"]


@pytest.mark.parametrize("times", [[], [5, 5, 5]])
def test_examples_of_one_instant_cannot_be_split(times: list[int]) -> None:
    with pytest.raises(ValueError, match="ingest a longer period"):
        cut_at(pa.chunked_array([times], TIME), 0.15)
