"""The index of a stream answers as a set would, whatever came in which order."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.adapters.stream_index import EventIndex, Hashes, SortedHashes

DAYS = [date(2020, 1, 1) + timedelta(days=n) for n in range(6)]

batches = st.lists(st.lists(st.text(max_size=4), max_size=30), max_size=12)


@given(batches)
def test_hashes_are_found_exactly_where_a_set_has_their_ids(added):
    known, naive = SortedHashes(), set()
    for ids in added:
        asked = [*ids, "never"]
        assert known.has(Hashes.of(asked)).tolist() == [i in naive for i in asked]
        known.add(Hashes.of(ids))
        naive |= set(ids)
    assert known.has(Hashes.of(sorted(naive))).all()


def test_two_hashes_that_agree_in_one_half_are_not_the_same():
    known = SortedHashes()
    half = np.array([7, 7, 7], np.uint64)
    known.add(Hashes(half, np.array([1, 2, 3], np.uint64)))
    assert known.has(Hashes(half, np.array([3, 4, 1], np.uint64))).tolist() == [True, False, True]


def test_chunks_stay_few_while_a_million_hashes_come_in_small_batches():
    known = SortedHashes()
    random = np.random.default_rng(1)
    for _ in range(1_000):
        known.add(Hashes(*random.integers(0, 2**63, (2, 1_000)).astype(np.uint64)))
    assert len(known) == 1_000_000
    assert len(known._chunks) <= 8


class Table:
    """Files of a table as the index loads them: ids by date, and how often each was read."""

    def __init__(self):
        self.rows: dict[str, list[str]] = {}
        self.read: list[str | None] = []

    def load(self, day):
        self.read.append(day)
        return [ids for d, ids in self.rows.items() if day in (None, d)]

    def add(self, day, ids):
        self.rows.setdefault(str(day), []).extend(ids)


event = st.tuples(st.sampled_from("abcdefgh"), st.integers(0, len(DAYS) - 1))
step = st.tuples(st.sampled_from(["stream", "other", "replaced"]), st.lists(event, min_size=1, max_size=6))


@given(
    steps=st.lists(step, max_size=12),
    kind=st.sampled_from([(True, None), (False, None), (False, timedelta(days=1)), (False, timedelta(hours=30))]),
)
def test_what_is_known_is_what_the_files_of_the_window_have(steps, kind):
    same_date, window = kind
    table = Table()
    index = EventIndex(table.load, same_date=same_date, window=window)
    for who, events in steps:
        # Where equal ids have equal dates, the date is part of the id.
        named = [(f"{i}{d}" if same_date else i, DAYS[d]) for i, d in events]
        if who == "stream":
            ids, days = [i for i, _ in named], np.array([d for _, d in named], "datetime64[D]")
            known = index.known(ids, days, table.rows)
            reach = None if window is None else str(min(days) - np.timedelta64(-(-window // timedelta(days=1)), "D"))
            have = {i for d, there in table.rows.items() if reach is None or d >= reach for i in there}
            mine = [i in set(table.rows.get(str(d), ())) if same_date else i in have for i, d in named]
            assert known.tolist() == mine
            fresh = [(i, d) for (i, d), k in zip(named, known, strict=True) if not k]
            for i, d in fresh:
                table.add(d, [i])
            index.add([i for i, _ in fresh], np.array([d for _, d in fresh], "datetime64[D]"))
        for i, d in named if who == "other" else ():
            table.add(d, [i])
            index.add_file(str(d), [i])
        for i, d in named if who == "replaced" else ():
            table.rows[str(d)] = [i]
            index.forget(str(d))


def test_a_date_is_read_when_a_batch_needs_it_and_then_never_again():
    table = Table()
    table.add(DAYS[0], ["a"])
    table.add(DAYS[1], ["b"])
    index = EventIndex(table.load, same_date=True, window=None)
    for _ in range(3):
        assert index.known(["a", "x"], np.array([DAYS[0]] * 2, "datetime64[D]"), table.rows).tolist() == [True, False]
    assert table.read == ["2020-01-01"]
    assert len(index) == 1


@pytest.mark.parametrize("batches", [255, 257])
def test_a_date_that_is_no_longer_used_is_let_go(batches):
    table = Table()
    table.add(DAYS[0], ["a"])
    index = EventIndex(table.load, same_date=True, window=None)
    index.known(["a"], np.array([DAYS[0]], "datetime64[D]"), table.rows)
    for _ in range(batches):
        index.known(["b"], np.array([DAYS[1]], "datetime64[D]"), table.rows)
    assert index.holds("2020-01-01") == (batches < 256)
