"""A generation's sampled ids meet those of earlier ones; what is kept follows the table, and gaps block nothing."""

from datetime import UTC, date, datetime

import pyarrow as pa
import pytest

from raypipe.adapters import ingest_late
from raypipe.adapters.ingest_late import Asked, compare, comparison, is_sampled, keep_sample, sample
from raypipe.adapters.lake.catalog import KEY_SAMPLES, events_table, key_samples_table
from raypipe.adapters.lake.store import Store
from raypipe.contracts.backfill import Days
from raypipe.contracts.contract import TIMESTAMP, Contract, Field
from raypipe.contracts.late import in_sample
from raypipe.contracts.source import SourceSpec
from raypipe.environment import StoreAddress

FIELDS = (Field("ride", pa.string(), required=True), Field("at", TIMESTAMP, required=True))
RIDES = Contract("rides", "1", FIELDS, ("ride",), "at")
JANUARY, MARCH, JUNE = date(2020, 1, 1), date(2020, 3, 1), date(2020, 6, 1)
MANY = pa.chunked_array([[f"ride-{n}" for n in range(4_000)]])
A, B, C, D, *_ = MANY.filter(pa.array(in_sample(MANY))).to_pylist()


@pytest.fixture
def store(tmp_path):
    return Store(StoreAddress(lake=str(tmp_path)))


def asked(generation, ids, day, before=MARCH, replaces=None):
    ids = [*ids, "not-in-the-sample"]
    rows = pa.table({"event_id": pa.array(ids, pa.string()), "event_date": [day] * len(ids), "other": ids})
    return Asked("rides", RIDES, generation, before, len(ids), sample(rows), replaces)


def let_in(store, generation, ids, day=JUNE, **others):
    """Compare and keep as a run does, and return what was found."""
    source, late, sampled = compare(comparison(store, asked(generation, ids, day, **others)))
    keep_sample(store, source, "ingest/rides", generation, sampled)
    return late


def kept(store):
    rows = key_samples_table(store, "rides").read(["event_id", "event_date"]).to_pylist()
    return sorted((r["event_id"], r["event_date"]) for r in rows)


def test_an_event_from_before_what_was_searched_matches_and_others_do_not(store):
    assert let_in(store, 1, [A, B], JANUARY).matches == 0
    late = let_in(store, 2, [A, C])
    assert (late.matches, late.sampled, late.earlier_sampled, late.accepted) == (1, 2, 2, 3)


def test_what_the_searched_dates_have_did_not_enter_and_is_no_match(store):
    let_in(store, 1, [A], JANUARY)
    let_in(store, 2, [A])
    late = let_in(store, 3, [A, B])
    assert (late.matches, late.sampled) == (0, 1)
    assert kept(store) == sorted([(A, JANUARY), (A, JUNE), (B, JUNE)])


def test_what_a_manifest_has_twice_counts_once(store):
    let_in(store, 1, [A], JANUARY)
    assert let_in(store, 2, [A, A]).matches == 1


def test_a_generation_is_kept_once(store):
    _, _, sampled = compare(comparison(store, asked(1, [A], JANUARY)))
    for _ in range(2):
        keep_sample(store, "rides", "ingest/rides", 1, sampled)
    assert kept(store) == [(A, JANUARY)]


def test_a_generation_that_was_not_kept_blocks_no_later_one(store):
    let_in(store, 1, [A], JANUARY)
    assert let_in(store, 5, [A]).matches == 1
    assert key_samples_table(store, "rides").generation("ingest/rides") == 5


def test_a_backfill_takes_replaced_days_out_of_the_sample(store):
    let_in(store, 1, [A, B], JANUARY)
    let_in(store, 2, [C])
    days = Days(JANUARY, date(2020, 2, 1))
    assert let_in(store, 3, [A], JANUARY, before=date(2020, 1, 2), replaces=days).matches == 0
    assert kept(store) == sorted([(A, JANUARY), (C, JUNE)])
    assert let_in(store, 4, [B, A]).matches == 1


def test_many_small_files_become_one(store, monkeypatch):
    monkeypatch.setattr(ingest_late, "_MANY_FILES", 2)
    for generation, ride in enumerate([A, B, C, D], start=1):
        let_in(store, generation, [ride])
    assert [len(f) for f in zip(*kept(store), strict=True)] == [4, 4]
    assert len(key_samples_table(store, "rides").files()) == 2


def test_the_rows_that_were_never_sampled_are_known(store):
    table = events_table(store, "rides", RIDES)
    at = pa.array([datetime(2020, 1, 1, tzinfo=UTC)] * 1000, TIMESTAMP)
    names = [str(n) for n in range(1000)]
    rows = pa.table({"ride": names, "at": at, "event_id": names, "event_at": at, "known_at": at})
    for name, column in (("source_position", names), ("contract_version", names), ("generation", [1] * 1000)):
        rows = rows.append_column(name, pa.array(column))
    for day in (JANUARY, JUNE):
        file = table.write(rows, (("event_date", str(day)),))
        table.commit([file], app_id=str(day), generation=1)
    late = let_in(store, 1, [A])
    assert (late.earlier_rows, late.earlier_sampled, late.high) == (1000, 0, None)


def test_an_empty_generation_keeps_nothing_and_is_done(store):
    late = let_in(store, 1, [])
    assert (late.matches, kept(store)) == (0, [])
    assert key_samples_table(store, "rides").schema == KEY_SAMPLES
    assert key_samples_table(store, "rides").generation("ingest/rides") == 1


@pytest.mark.parametrize(
    ("window", "key", "sampled"),
    [("7d", ("ride",), True), (None, ("ride",), False), ("7d", ("ride", "at"), False)],
)
def test_a_source_is_sampled_only_where_a_copy_can_lie_beyond_a_window(window, key, sampled):
    feed = {"kind": "objects", "uri": "s3://rides/", "format": "csv"}
    spec = SourceSpec(contract="rides.odcs.yaml", feeds=(feed,), dedup={"window": window})
    assert is_sampled(spec, Contract("rides", "1", FIELDS, key, "at")) is sampled
