"""Each event enters once: exact, whatever the files, buckets and days it is spread over."""

from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.adapters import ingest_keys
from raypipe.adapters.ingest_keys import (
    Keys,
    Rewrite,
    bucket_tasks,
    comparisons,
    deduplicate,
    first_of_each,
    id_hashes,
    read_keys,
    reads,
    repeated,
    rewrite,
)
from raypipe.adapters.lake.catalog import events_table
from raypipe.adapters.lake.files import DataFile
from raypipe.adapters.lake.store import Store
from raypipe.adapters.ray_map import Kept
from raypipe.contracts.contract import TIMESTAMP, Contract, Field
from raypipe.environment import StoreAddress

FIELDS = (Field("ride", pa.string(), required=True), Field("at", TIMESTAMP, required=True))
BY_RIDE = Contract("rides", "1", FIELDS, ("ride",), "at")
BY_DAY = Contract("rides", "1", FIELDS, ("ride", "at"), "at")
DAYS = [date(2020, 1, 1), date(2020, 1, 2)]


def rows_of(ids, contract, day):
    at = pa.array([datetime(day.year, day.month, day.day, tzinfo=UTC)] * len(ids), TIMESTAMP)
    columns = {"ride": ids, "at": at, "event_id": [f"{i}|{day}" if contract is BY_DAY else i for i in ids]}
    known = {
        "event_at": at,
        "known_at": at,
        "source_position": ids,
        "contract_version": ids,
        "generation": [1] * len(at),
    }
    return pa.table({**columns, **known})


def written(store, contract, file, *, streamed=False):
    day = DAYS[file[0]]
    table = events_table(store, "rides", contract)
    made = table.write(rows_of(file[1], contract, day), (("event_date", str(day)),), streamed=streamed)
    return DataFile(f"{table.uri}/{made.path}", made.rows, made.size_bytes, made.partition)


ids = st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=5, unique=True)
files = st.lists(st.tuples(st.integers(0, 1), ids), max_size=4)


@settings(deadline=None, max_examples=80)
@given(
    known=files,
    staged=files,
    streams=files,
    contract=st.sampled_from([BY_RIDE, BY_DAY]),
    limit=st.integers(1, 9),
    gone=st.booleans(),
)
def test_what_is_left_is_each_event_once_and_streamed_ones_give_way(
    tmp_path_factory, known, staged, streams, contract, limit, gone
):
    store = Store(StoreAddress(lake=str(tmp_path_factory.mktemp("lake"))))
    there = [written(store, contract, f) for f in known]
    new = [written(store, contract, f) for f in staged]
    streamed = [written(store, contract, f, streamed=True) for f in streams]
    dropped: dict[str, list[int]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest_keys, "_BUCKET_ROWS", (limit, 2 * limit))
        patch.setattr(ingest_keys, "_DAYS_ROWS", limit)
        patch.setattr(ingest_keys, "_READ_ROWS", limit)
        found = comparisons(contract, new, [*streamed, *there])
        keys = {}
        for read in reads(store, "rides", found, {}, Kept):
            keys |= read_keys(read)[1]
        if gone:  # with the worker that read them
            keys = {uri: Keys(Kept(None), k.place) for uri, k in keys.items()}
        for comparison in found:
            for task in bucket_tasks(store, "rides", comparison, keys):
                for uri, row in deduplicate(task)[1]:
                    dropped.setdefault(uri, []).append(row)
    assert not dropped.keys() & {f.uri for f in there}
    seen = {(i, d if contract is BY_DAY else 0) for d, names in known for i in names}
    for file, (d, names) in zip([*new, *streamed], [*staged, *streams], strict=True):
        events = [(i, d if contract is BY_DAY else 0) for i in names]
        late = [n for n, e in enumerate(events) if e in seen]
        assert sorted(dropped.get(file.uri, [])) == late
        seen |= set(events)


@pytest.mark.parametrize("streamed", [True, False])
def test_a_file_is_written_again_without_its_duplicates_and_not_at_all_when_none_is_left(tmp_path, streamed):
    store = Store(StoreAddress(lake=str(tmp_path)))
    table = events_table(store, "rides", BY_RIDE)
    file = written(store, BY_RIDE, (0, ["a", "b", "c"]), streamed=streamed)
    _, uri, kept = rewrite(Rewrite(store, "rides", BY_RIDE, file, (0, 2)))
    assert (uri, kept.rows, kept.partition) == (file.uri, 1, (("event_date", "2020-01-01"),))
    assert kept.path.rpartition("/")[2].startswith("stream-") == streamed
    assert store.read_parquet(f"{table.uri}/{kept.path}").column("ride").to_pylist() == ["b"]
    assert rewrite(Rewrite(store, "rides", BY_RIDE, file, (0, 1, 2)))[2] is None


@given(st.lists(st.sampled_from("abcd")))
def test_within_rows_the_first_of_equal_events_stays(names):
    ids = pa.chunked_array([names], pa.string())
    first = first_of_each(ids, id_hashes(ids))
    expected = [name not in names[:row] for row, name in enumerate(names)]
    assert (None if first is None else first.tolist()) == (None if all(expected) else expected)


def test_equal_hashes_alone_make_no_duplicate(monkeypatch):
    rows = pa.table({"event_id": ["a", "b", "a"]})
    monkeypatch.setattr(ingest_keys, "repeated", lambda hashes: np.ones(len(hashes), bool))
    ids = rows["event_id"]
    assert first_of_each(ids, id_hashes(ids)).tolist() == [True, True, False]
    assert repeated(np.array([3, 1, 3, 2], np.uint64)).tolist() == [True, False, True, False]
