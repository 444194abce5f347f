"""A pattern goes into a JSON Schema only where both engines read it as the same construct."""

import re

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.contracts.exchange.ecmascript import alphabets, is_portable


@pytest.mark.parametrize(
    "pattern",
    ["", "^a|b$", "(a|(?:b))+?", r"[a-z\-\]]{2,}", r"\d+\.\w*", r"\bx\b", "[^a]{3}", r"\u00e4\x41", r"a\/b\n", "Größe"],
)
def test_what_both_know_is_portable(pattern):
    assert is_portable(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "(?i)a", "(?P<n>a)", "(?<n>a)", r"\pL", r"\p{L}", r"\Aa", r"a\z", "a++", "a{2}{3}", "^*a", "[[:alpha:]]", "[a[b]]",
        "[a&&b]", "[a--b]", "[a~~b]", "[]a]", "[^]a]", "]", "a}", r"\-", r"\x{41}", "(?x) a", r"\a",
    ],
)  # fmt: skip
def test_what_only_one_knows_is_not(pattern):
    assert not is_portable(pattern)


PIECES = st.sampled_from(
    ["a", "b", "^", "$", "|", "(", ")", "(?:", "[ab]", "[^a]", "+", "*", "?", "{2}", "{1,}", "-", r"\."]
)


@given(st.lists(PIECES, max_size=6).map("".join), st.lists(st.text("ab-.", max_size=4), min_size=1, max_size=8))
def test_a_portable_pattern_finds_the_same_in_two_engines(pattern, texts):
    """Python's engine stands for others that know no more than what is portable."""
    try:
        found = pl.Series(texts).str.contains(pattern).to_list()
    except pl.exceptions.ComputeError:
        return
    if is_portable(pattern):
        assert [re.search(pattern, text) is not None for text in texts] == found


def test_classes_whose_members_differ_are_named_once_and_escapes_are_none():
    assert alphabets(r"\d\d[\w]\b\\s") == (r"\d", r"\w", r"\b")
    assert alphabets(r"\\d") == ()
