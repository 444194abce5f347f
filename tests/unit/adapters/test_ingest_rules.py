"""The numbers of table rules are those of all staged rows, however these lie in files, tasks and buckets."""

import tempfile
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from unittest.mock import patch

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from in_process import in_process

from raypipe.adapters import ingest_rules
from raypipe.adapters.ingest_rules import measure_generations, measurings
from raypipe.adapters.ingest_unique import Merged, merge_with_table
from raypipe.adapters.lake.catalog import events_table
from raypipe.adapters.lake.store import Store
from raypipe.contracts.odcs import load_contract
from raypipe.environment import StoreAddress

NOW = datetime(2020, 1, 10, tzinfo=UTC)
TRIPS = load_contract(
    """
apiVersion: v3.1.0
kind: DataContract
id: trips
version: 1.0.0
slaProperties: [{property: latency, value: 1, unit: d}]
schema:
  - name: trips
    customProperties: [{property: eventAt, value: began}]
    quality:
      - {metric: rowCount, mustBeGreaterThan: 0}
      - {metric: duplicateValues, mustBe: 0, arguments: {properties: [city, fare]}}
      - {type: sql, name: mean, query: "SELECT avg(fare) FROM ${object}", mustBeLessThan: 9}
      - {type: sql, name: spread, query: "SELECT count(DISTINCT city) - count(DISTINCT fare) FROM trips", mustBe: 0}
    properties:
      - {name: trip, logicalType: integer, primaryKey: true}
      - {name: began, logicalType: timestamp, required: true}
      - name: city
        logicalType: string
        unique: true
        relationships: [{to: cities.name}]
        quality:
          - {metric: nullValues, mustBeLessThan: 1, unit: percent}
          - {metric: nullValues, mustBeLessThan: 9, severity: warning}
      - {name: fare, logicalType: number}
""",
    "trips.odcs.yaml",
)
CITIES = load_contract(
    """
apiVersion: v3.1.0
kind: DataContract
id: cities
version: 1.0.0
schema:
  - name: cities
    customProperties: [{property: eventAt, value: at}]
    properties:
      - {name: name, logicalType: string, primaryKey: true}
      - {name: at, logicalType: timestamp, required: true}
""",
    "cities.odcs.yaml",
)
CONTRACTS = {"rides": TRIPS, "towns": CITIES}


def staged(store, source, rows):
    """Return a file of the source's table, which nobody has committed."""
    table = events_table(store, source, CONTRACTS[source])
    nothing = dict.fromkeys(table.schema.names)
    return table.write(
        pa.Table.from_pylist([nothing | {"event_id": str(r)} | r for r in rows], schema=table.schema),
        (("event_date", "2020-01-01"),),
    )


def trips(*rows):
    return [{"trip": i, "began": NOW - timedelta(hours=h), "city": c, "fare": f} for i, (h, c, f) in enumerate(rows)]


def numbers(store, parts, towns=()):
    generations = {"rides": Merged("rides", TRIPS, [staged(store, "rides", p) for p in parts], None)}
    if towns:
        cities = [{"name": n, "at": NOW} for n in towns]
        generations["towns"] = Merged("towns", CITIES, [staged(store, "towns", cities)], None)
    with in_process():
        return measure_generations(store, generations, CONTRACTS, NOW)


@pytest.fixture
def store(tmp_path):
    return Store(StoreAddress(lake=str(tmp_path)))


ROWS = trips((24, "a", 1), (48, "b", None), (36, "a", 1), (72, None, 2), (30, "c", 1))


def test_every_rule_has_its_number(store):
    assert numbers(store, [ROWS[:2], ROWS[2:]], ["a", "z"])["rides"] == {
        "nullValues(city)": 1,
        "unique(city)": 1,
        "rowCount": 5,
        "duplicateValues(city, fare)": 1,
        "sql(mean)": 1.25,
        "sql(spread)": 1,
        "relationship(city -> cities.name)": 2,
        "latency(began)": 1,
    }


def test_keys_are_looked_up_in_what_is_staged_and_in_what_the_lake_has(store):
    missing = "relationship(city -> cities.name)"
    assert numbers(store, [ROWS])["rides"][missing] == 4
    events_table(store, "towns", CITIES).commit(
        [staged(store, "towns", [{"name": "a", "at": NOW}])], app_id="ingest/towns", generation=1
    )
    assert numbers(store, [ROWS])["rides"][missing] == 2
    assert numbers(store, [ROWS], ["b", "c"])["rides"][missing] == 0


def test_unique_values_differ_from_those_that_the_table_has(store):
    found = events_table(store, "rides", TRIPS)
    found.commit([staged(store, "rides", trips((9, "c", 1), (9, "d", 1)))], app_id="ingest/rides", generation=1)
    merged = Merged("rides", TRIPS, [staged(store, "rides", ROWS)], None)
    with in_process():
        merge_with_table(store, [merged])
        measured = measure_generations(store, {"rides": merged}, CONTRACTS, NOW)["rides"]
    assert (measured["unique(city)"], measured["duplicateValues(city, fare)"]) == (2, 1)


def test_a_generation_without_a_row_has_no_rows_and_no_answer(store):
    found = numbers(store, [])["rides"]
    assert (found["rowCount"], found["nullValues(city)"], found["sql(spread)"]) == (0, 0, 0)
    assert (found["sql(mean)"], found["latency(began)"]) == (None, None)


def test_a_source_without_table_rules_reads_nothing(store):
    generations = {"towns": Merged("towns", CITIES, [staged(store, "towns", [{"name": "a", "at": NOW}])], None)}
    assert measurings(store, "towns", generations, CONTRACTS) == []
    with patch.object(ingest_rules, "map_tasks", lambda _, tasks: iter([] if tasks == [] else [1 / 0])):
        assert measure_generations(store, generations, CONTRACTS, NOW) == {}


rows = st.lists(
    st.tuples(st.integers(1, 50), st.sampled_from(["a", "b", "c", None]), st.none() | st.sampled_from([0.0, 1.0, 2.0])),
    max_size=12,
)


@settings(deadline=None, max_examples=25)
@given(rows, st.lists(st.integers(0, 12), max_size=4), st.integers(1, 20), st.integers(1, 5))
def test_the_numbers_do_not_depend_on_files_tasks_and_buckets(found, cuts, bucket_rows, bin_rows):
    whole = trips(*found)
    ends = [0, *sorted(cuts), len(whole)]
    parts = [whole[a:b] for a, b in pairwise(ends)]
    with tempfile.TemporaryDirectory() as lake:
        store = Store(StoreAddress(lake=lake))
        expected = numbers(store, [whole], ["a", "b"])
        with (
            patch.object(ingest_rules, "_BUCKET_ROWS", bucket_rows),
            patch.object(ingest_rules, "_BIN_ROWS", bin_rows),
        ):
            assert numbers(store, parts, ["a", "b"]) == expected
