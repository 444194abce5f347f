"""The dead letters that a report shows: a few for each reason, the same ones however they arrived."""

from functools import reduce

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from raypipe.contracts.letter_sample import LETTERS_PER_REASON, LONGEST_RAW, LetterSample

SCHEMA = pa.schema(
    [
        ("letter_id", pa.string()),
        ("raw", pa.string()),
        ("reasons", pa.list_(pa.string())),
        ("source_position", pa.string()),
    ]
)


def table(letters):
    return pa.Table.from_pylist(
        [{"letter_id": i, "raw": raw, "reasons": why, "source_position": f"at {i}"} for i, raw, why in letters],
        schema=SCHEMA,
    )


letters = st.lists(
    st.tuples(st.uuids().map(str), st.text(max_size=5), st.lists(st.sampled_from("abc"), min_size=1, max_size=3)),
    max_size=40,
    unique_by=lambda x: x[0],
)


@given(letters, st.integers(0, 40))
def test_it_does_not_matter_how_letters_are_split(given_letters, cut):
    parts = [LetterSample.of(table(p)) for p in (given_letters[cut:], given_letters[:cut])]
    assert reduce(LetterSample.merge, parts, LetterSample()) == LetterSample.of(table(given_letters))


def test_each_reason_has_the_letters_with_the_smallest_ids_and_no_more():
    many = [(f"{n:03}", f"row {n}", ["range(x)", "required(y)"] if n == 7 else ["range(x)"]) for n in range(50, 0, -1)]
    found = [(x.reason, x.letter_id) for x in LetterSample.of(table(many)).letters]
    assert found == [*(("range(x)", f"{n:03}") for n in range(1, LETTERS_PER_REASON + 1)), ("required(y)", "007")]


def test_a_reason_is_named_without_its_object_and_a_record_that_is_too_long_is_left_out():
    long = "x" * (LONGEST_RAW + 1)
    found = LetterSample.of(table([("1", "", ["unreadable: a.parquet is cut"]), ("2", long, ["type(x)"])])).letters
    assert [(x.reason, x.raw, x.characters) for x in found] == [
        ("type(x)", None, LONGEST_RAW + 1),
        ("unreadable", "", 0),
    ]
