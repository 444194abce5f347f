"""Every accepted row has an identity that no other key shares, and two times."""

from datetime import UTC, date, datetime

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.contracts.contract import TIMESTAMP, Contract, Field
from raypipe.contracts.events import event_columns, event_ids

FIELDS = (
    Field("carrier", pa.string(), required=True),
    Field("flight", pa.int64(), required=True),
    Field("departs_at", TIMESTAMP, required=True),
    Field("told_at", TIMESTAMP, required=True),
)
CONTRACT = Contract("flights", "1", FIELDS, ("carrier", "flight", "departs_at"), "departs_at", "told_at")
ARRIVED = datetime(2020, 1, 1, tzinfo=UTC)


def table(*rows):
    names = [f.name for f in FIELDS]
    return pa.Table.from_pylist([dict(zip(names, r, strict=True)) for r in rows], schema=CONTRACT.schema)


def test_an_identity_joins_the_key_and_writes_times_in_utc():
    at = datetime(2013, 1, 1, 10, 15, tzinfo=UTC)
    rows = table(("U|A", 7, at, at), ("B\\", -1, at.replace(microsecond=5), at))
    assert event_ids(rows, CONTRACT).to_pylist() == [
        "U\\|A|7|2013-01-01T10:15:00Z",
        "B\\\\|-1|2013-01-01T10:15:00.000005Z",
    ]


times = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
keys = st.tuples(st.text("a|\\", max_size=3), st.integers(-(2**63), 2**63 - 1), times)


@settings(deadline=None, max_examples=60)
@given(st.lists(keys, unique=True))
def test_two_keys_never_share_an_identity_and_a_row_has_it_alone_too(keys):
    rows = table(*[(*k, ARRIVED) for k in keys])
    ids = event_ids(rows, CONTRACT).to_pylist()
    assert len(set(ids)) == len(keys)
    assert ids == [event_ids(rows.slice(i, 1), CONTRACT)[0].as_py() for i in range(len(keys))]
    for (_, _, at), text in zip(keys, ids, strict=True):
        assert text.endswith("|" + at.isoformat().replace("+00:00", "Z"))


def test_a_row_gets_both_clocks_and_the_utc_day_of_the_event():
    at, told = datetime(2013, 1, 1, 23, 59, tzinfo=UTC), datetime(2013, 1, 3, tzinfo=UTC)
    (row,) = event_columns(table(("UA", 1, at, told)), CONTRACT, ARRIVED).to_pylist()
    assert (row["event_at"], row["known_at"], row["event_date"]) == (at, told, date(2013, 1, 1))


def test_without_a_second_clock_a_row_is_known_when_its_object_arrived():
    contract = Contract("flights", "1", FIELDS, ("carrier",), "departs_at")
    at = datetime(2013, 1, 1, tzinfo=UTC)
    added = event_columns(table(("UA", 1, at, at)), contract, ARRIVED)
    assert added["known_at"].to_pylist() == [ARRIVED]
    assert added["event_id"].to_pylist() == ["UA"]
    assert event_columns(table(), contract, ARRIVED).schema == added.schema


def test_a_column_that_is_the_clock_already_is_not_added_twice():
    contract = Contract("x", "1", (Field("event_at", TIMESTAMP, required=True),), ("event_at",), "event_at")
    rows = pa.table({"event_at": pa.array([ARRIVED], TIMESTAMP)})
    assert event_columns(rows, contract, ARRIVED).column_names == ["event_at", "event_id", "known_at", "event_date"]
