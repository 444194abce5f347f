"""Each event enters once: exact, whatever the files, buckets and days it is spread over."""

from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.adapters import ingest_keys
from raypipe.adapters.ingest_keys import (
    Rewrite,
    comparisons,
    deduplicate,
    id_hashes,
    repeated,
    rewrite,
    without_repeats,
)
from raypipe.adapters.lake.catalog import events_table
from raypipe.adapters.lake.files import DataFile
from raypipe.adapters.lake.store import Store
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


def written(store, contract, file):
    day = DAYS[file[0]]
    table = events_table(store, "rides", contract)
    return table.write(rows_of(file[1], contract, day), (("event_date", str(day)),))


def as_known(table, file):
    return DataFile(f"{table.uri}/{file.path}", file.rows, file.size_bytes, file.partition)


ids = st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=5, unique=True)
files = st.lists(st.tuples(st.integers(0, 1), ids), max_size=4)


@settings(deadline=None, max_examples=60)
@given(known=files, staged=files, contract=st.sampled_from([BY_RIDE, BY_DAY]), limit=st.integers(1, 9))
def test_what_is_left_is_each_event_that_the_table_lacks_where_it_first_stands(
    tmp_path_factory, known, staged, contract, limit
):
    store = Store(StoreAddress(lake=str(tmp_path_factory.mktemp("lake"))))
    table = events_table(store, "rides", contract)
    there = [as_known(table, written(store, contract, f)) for f in known]
    new = [written(store, contract, f) for f in staged]
    dropped: dict[str, list[int]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest_keys, "_BUCKET_ROWS", limit)
        patch.setattr(ingest_keys, "_DAYS_ROWS", limit)
        for task in comparisons(store, "rides", contract, new, there):
            for path, row in deduplicate(task)[1]:
                dropped.setdefault(path, []).append(row)
    seen = {(i, d if contract is BY_DAY else 0) for d, names in known for i in names}
    for file, (d, names) in zip(new, staged, strict=True):
        events = [(i, d if contract is BY_DAY else 0) for i in names]
        late = [n for n, e in enumerate(events) if e in seen]
        assert sorted(dropped.get(file.path, [])) == late
        seen |= set(events)


def test_a_file_is_written_again_without_its_duplicates_and_not_at_all_when_none_is_left(tmp_path):
    store = Store(StoreAddress(lake=str(tmp_path)))
    table = events_table(store, "rides", BY_RIDE)
    file = written(store, BY_RIDE, (0, ["a", "b", "c"]))
    _, path, kept = rewrite(Rewrite(store, "rides", BY_RIDE, file.path, (0, 2)))
    assert (path, kept.rows, kept.partition) == (file.path, 1, (("event_date", "2020-01-01"),))
    assert store.read_parquet(f"{table.uri}/{kept.path}").column("ride").to_pylist() == ["b"]
    assert rewrite(Rewrite(store, "rides", BY_RIDE, file.path, (0, 1, 2)))[2] is None


@given(st.lists(st.sampled_from("abcd")))
def test_within_rows_the_first_of_equal_events_stays(names):
    rows = pa.table({"event_id": pa.array(names, pa.string()), "n": pa.array(range(len(names)), pa.int64())})
    expected = [names.index(c) for c in dict.fromkeys(names)]
    assert without_repeats(rows, id_hashes(rows)).column("n").to_pylist() == expected


def test_equal_hashes_alone_make_no_duplicate(monkeypatch):
    rows = pa.table({"event_id": ["a", "b", "a"]})
    monkeypatch.setattr(ingest_keys, "repeated", lambda hashes: np.ones(len(hashes), bool))
    assert without_repeats(rows, id_hashes(rows)).column("event_id").to_pylist() == ["a", "b"]
    assert repeated(np.array([3, 1, 3, 2], np.uint64)).tolist() == [True, False, True, False]
