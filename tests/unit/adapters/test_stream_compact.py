"""Which files are merged: streamed ones of one date and about one size, not too much at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raypipe.adapters.lake.files import DataFile
from raypipe.adapters.stream_compact import LARGE_BYTES, plan


def file(number, size, day="2020-01-01", name="stream-"):
    return DataFile(f"lake/event_date={day}/{name}{number:04d}.parquet", 1, size, (("event_date", day),))


def test_eight_small_files_of_one_date_become_one_and_seven_do_not():
    assert [len(g) for g in plan([file(n, 10_000) for n in range(8)])] == [8]
    assert plan([file(n, 10_000) for n in range(7)]) == []
    assert plan([file(n, 10_000, f"2020-01-{n % 4 + 1:02d}") for n in range(8)]) == []


def test_files_that_no_stream_wrote_and_large_ones_are_left_alone():
    assert plan([file(n, 10_000, name="") for n in range(20)]) == []
    assert plan([file(n, LARGE_BYTES) for n in range(20)]) == []


def test_a_file_much_larger_than_the_others_together_waits_for_them():
    small, large = [file(n, 200_000) for n in range(10)], file(99, 20_000_000)
    assert plan([large, *small]) == [small]


@given(st.lists(st.tuples(st.integers(1, 40_000_000), st.sampled_from(["2020-01-01", "2020-01-02"])), max_size=40))
def test_a_plan_reads_no_file_twice_mixes_no_dates_and_stays_within_its_bounds(sizes):
    files = [file(n, size, day) for n, (size, day) in enumerate(sizes)]
    groups = plan(files)
    chosen = [f for group in groups for f in group]
    assert len(chosen) == len(set(chosen))
    assert all(len({f.partition for f in group}) == 1 and len(group) >= 8 for group in groups)
    assert sum(f.size_bytes for f in chosen) <= 2 * LARGE_BYTES
