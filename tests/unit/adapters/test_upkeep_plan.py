"""What upkeep takes away or writes anew, from listings alone: nothing that anybody needs."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from raypipe.adapters.lake.files import DataFile
from raypipe.adapters.lake.log import TableLog
from raypipe.adapters.lake.objects import StoredObject
from raypipe.adapters.stream_compact import FEWEST, LARGE_BYTES
from raypipe.adapters.upkeep_plan import Expiring, expired, leftovers, merges

NOW = datetime(2026, 1, 31, tzinfo=UTC)
ENTRY, CHECKPOINT = "_delta_log/{:020d}.json", "_delta_log/{:020d}.checkpoint.parquet"


def file(number, size=10_000, day="2020-01-01", name="", rows=1):
    partition = (("event_date", day),)
    return DataFile(f"lake/event_date={day}/{name}{number:04d}.parquet", rows, size, partition)


def stored(path, days=0, size=10):
    return StoredObject(f"lake/t/{path}", "e", size, NOW - timedelta(days=days))


def log(*entries, checkpoints=()):
    """Return the log of (version, days ago)."""
    listed = [stored(ENTRY.format(v), days) for v, days in entries]
    return TableLog.of([*listed, *(stored(CHECKPOINT.format(v)) for v in checkpoints), stored("a.parquet")])


def test_files_leave_by_the_date_of_their_events_and_one_without_a_date_stays():
    files = [file(1, day="2019-12-31", rows=3), file(2), file(3, day=None), file(4, day="2020-01-02")]
    assert expired(files, date(2020, 1, 1)) == [Expiring(files[0], 3)]
    assert expired(files, date.min) == []


def test_what_leaves_of_a_file_is_as_large_as_its_share_of_the_rows():
    half = Expiring(file(1, 1000, rows=4), 2)
    assert (half.size_bytes, half.whole) == (500, False)
    assert Expiring(file(1, 1000, rows=4), 4).whole


def test_small_files_of_one_partition_become_one_and_streamed_ones_stay_apart():
    plain, streamed = [file(n) for n in range(8)], [file(n, name="stream-") for n in range(8)]
    assert merges([*plain, *streamed]) == [plain, streamed]
    assert merges([*plain[:7], *streamed[:7], *(file(n, day="2020-01-02") for n in range(7))]) == []
    assert merges([file(n, LARGE_BYTES) for n in range(20)]) == []


@given(
    st.lists(
        st.tuples(
            st.integers(1, 40_000_000), st.sampled_from(["2020-01-01", "2020-01-02"]), st.sampled_from(["", "stream-"])
        ),
        max_size=60,
    )
)
def test_merging_takes_no_file_twice_mixes_no_kinds_and_leaves_nothing_to_merge(sizes):
    files = [file(n, *kind) for n, kind in enumerate(sizes)]
    groups = merges(files)
    chosen = [f for group in groups for f in group]
    assert len(chosen) == len(set(chosen))
    for group in groups:
        assert len({(f.partition, f.streamed) for f in group}) == 1
        assert len(group) >= FEWEST
        assert sum(f.size_bytes for f in group) < 2 * LARGE_BYTES
    left = [f for f in files if f not in chosen]
    merged = [
        file(1000 + n, sum(f.size_bytes for f in g), g[0].partition[0][1], "stream-" if g[0].streamed else "")
        for n, g in enumerate(groups)
    ]
    assert merges([*left, *merged]) == [], "done once, it is done"


def test_data_files_that_nobody_needs_are_left_over_once_they_are_old_enough():
    until = NOW - timedelta(days=37)
    old, needed = stored("event_date=2020-01-01/a.parquet", 38), stored("b.parquet", 99)
    dying, young = stored("d=1/.c.parquet.0a1b2c", 99), stored("c.parquet", 36)
    others = [stored("_delta_log/" + "0" * 20 + ".checkpoint.parquet", 99), stored("README.md", 99)]
    others += [stored("_hidden/x.parquet", 99), stored(".git/y.parquet", 99), stored("_z.parquet", 99)]
    assert leftovers([old, needed, dying, young, *others], "lake/t", {needed.uri}, until) == [old, dying]


def test_a_version_can_be_read_from_the_first_entry_or_from_a_checkpoint():
    whole = log((0, 9), (1, 8), (2, 7))
    assert [whole.has(v) for v in (-1, 0, 2, 3)] == [False, True, True, False]
    cut = log((3, 9), (4, 8), (6, 7), checkpoints=[3])
    assert [cut.has(v) for v in range(2, 7)] == [False, True, True, False, False]
    assert log((5, 1), checkpoints=[4]).has(5)
    assert not log((5, 1)).has(5)


def test_the_version_in_force_is_the_last_that_was_committed_before():
    whole = log((0, 90), (1, 60), (2, 20))
    days = {91: None, 90: 0, 70: 0, 60: 1, 21: 1, 20: 2, 0: 2}
    assert {d: whole.in_force(NOW - timedelta(days=d)) for d in days} == days
    assert log().in_force(NOW) is None


def test_where_clocks_disagree_or_entries_are_gone_more_is_kept_or_the_oldest_that_there_is():
    assert log((0, 90), (1, 10), (2, 60), (3, 5)).in_force(NOW - timedelta(days=30)) == 0
    assert log((8, 90), (9, 20), checkpoints=[9]).in_force(NOW - timedelta(days=30)) == 9
    assert log((8, 90)).in_force(NOW) is None
