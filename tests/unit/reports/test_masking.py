import json

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from raypipe.contracts.contract import TIMESTAMP, Contract, Field
from raypipe.contracts.generation_profile import ColumnCounts, ColumnSummary
from raypipe.reports.masking import masked_column, masked_record, public_columns

CONTRACT = Contract(
    "rides",
    "1",
    (
        Field("city", pa.string(), classification="public"),
        Field("name", pa.string(), classification="internal"),
        Field("at", TIMESTAMP),
    ),
    ("city",),
    "at",
)


def test_only_what_the_contract_calls_public_is_shown():
    assert public_columns(CONTRACT) == {"city"}


@given(st.text(min_size=5, alphabet="§¶"), st.lists(st.text(min_size=5, alphabet="§¶")))
def test_no_text_of_another_column_gets_out(secret, nested):
    record = {"city": "Oslo", "name": secret, "at": nested, "extra": {"deep": secret}}
    shown = json.dumps(masked_record(json.dumps(record), frozenset({"city"})), ensure_ascii=False)
    assert "Oslo" in shown
    assert not set(shown) & set("§¶")


def test_that_a_value_is_missing_or_of_another_kind_is_shown():
    raw = json.dumps({"a": None, "b": True, "c": 1.5, "d": [1], "e": "x"})
    assert masked_record(raw, frozenset()) == {
        "a": "null",
        "b": "true or false",
        "c": "a number",
        "d": "a list or an object",
        "e": "text of 1 characters",
    }


def test_text_without_columns_is_not_shown():
    assert [masked_record(raw, frozenset({"city"})) for raw in ('{"city": "Os', "[1]", "", None)] == [None] * 4


def test_a_column_keeps_its_counts_and_its_shape_and_no_value():
    counts = ColumnCounts(9, 2, 1.0, 3.0, (("Ann", 2), ("Bob", 5)))
    masked = masked_column(ColumnSummary(counts, (1.0, 2.0, 3.0), (4, 3)))
    assert masked == ColumnSummary(ColumnCounts(9, 2, None, None, (("value 1", 5), ("value 2", 2))), (), (4, 3))
