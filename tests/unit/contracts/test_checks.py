"""A row is accepted with its promised types, or refused with every reason; its neighbours do not matter."""

import csv
import io
import json
from datetime import UTC, date, datetime
from itertools import pairwise

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.contracts.checks import check
from raypipe.contracts.contract import TIMESTAMP, Bound, Contract, Field
from raypipe.contracts.formats import read_rows
from raypipe.contracts.rows import RawRows
from raypipe.contracts.times import ISO_TIMESTAMP_WITHOUT_ZONE, time_text
from raypipe.verdict import Status

FIELDS = (
    Field("sensor", pa.string(), required=True, pattern="^[a-z]+$", min_length=2, max_length=4),
    Field("at", TIMESTAMP, required=True),
    Field("site", pa.string(), valid_values=("north", "south")),
    Field("celsius", pa.float64(), minimum=Bound(-273.15, exclusive=True), maximum=Bound(100)),
    Field("retries", pa.int64(), minimum=Bound(0), maximum=Bound(9, exclusive=True)),
    Field("mounted_on", pa.date32(), minimum=Bound(date(2000, 1, 1))),
    Field("armed", pa.bool_()),
)
CONTRACT = Contract("readings", "1", FIELDS, ("sensor", "at"), "at")
GOOD = {
    "sensor": "abc",
    "at": "2013-01-01T10:15:00Z",
    "site": "north",
    "celsius": 20.5,
    "retries": 3,
    "mounted_on": "2010-05-06",
    "armed": True,
}


def csv_of(rows):
    return (
        pl.DataFrame([GOOD, *rows], schema=dict.fromkeys(GOOD, pl.String), strict=False).slice(1).write_csv().encode()
    )


def check_csv(*rows):
    texts = [{k: (json.dumps(v) if isinstance(v, bool) else v) for k, v in r.items()} for r in rows]
    return check(read_rows(csv_of(texts), "csv"), CONTRACT)


def check_json(*rows):
    return check(read_rows("\n".join(map(json.dumps, rows)).encode(), "jsonl"), CONTRACT)


def reasons(checked):
    return checked.refused["reasons"].to_pylist()


@pytest.mark.parametrize("checked", [check_csv(GOOD), check_json(GOOD)], ids=["csv", "jsonl"])
def test_an_accepted_row_has_exactly_the_promised_types(checked):
    assert checked.accepted.schema == CONTRACT.schema
    assert checked.accepted.to_pylist() == [
        GOOD | {"at": datetime(2013, 1, 1, 10, 15, tzinfo=UTC), "mounted_on": date(2010, 5, 6)}
    ]
    assert checked.accepted_rows.to_pylist() == [0]
    assert checked.refused.num_rows == 0
    assert checked.findings == ()


# One change to a good row -> the reasons, in CSV and in JSON.
CASES = [
    ({"sensor": ""}, [["required(sensor)"]], [["length(sensor)", "pattern(sensor)"]]),
    ({"sensor": None}, [["required(sensor)"]], [["required(sensor)"]]),
    ({"sensor": "ABCDE"}, [["length(sensor)", "pattern(sensor)"]], None),
    ({"sensor": "äöüä"}, [["pattern(sensor)"]], None),
    ({"at": "2013-01-01"}, [["type(at)"]], None),
    ({"at": "2013-01-01 10:15:00Z"}, [["type(at)"]], None),
    ({"at": "2013-01-01T10:15:00"}, [["type(at)"]], None),
    ({"at": "2013-02-30T10:15:00Z"}, [["type(at)"]], None),
    ({"at": "2013-1-1T1:1:1Z"}, [["type(at)"]], None),
    ({"at": "2013-01-01T10:15:60Z"}, [["type(at)"]], None),
    ({"at": "2013-01-01T10:15:00.1234567Z"}, [["type(at)"]], None),
    ({"at": "0000-01-01T10:15:00Z"}, [["type(at)"]], None),
    ({"at": "0001-01-01T00:15:00+14:00"}, [["type(at)"]], None),
    ({"at": "01/02/2013 10:15"}, [["type(at)"]], None),
    ({"at": "1357035300"}, [["type(at)"]], None),
    ({"at": "2013-01-01T10:15:00.5+02:00"}, [], None),
    ({"site": "west"}, [["valid_values(site)"]], None),
    ({"site": None}, [], None),
    ({"celsius": -273.15}, [["range(celsius)"]], None),
    ({"celsius": -273.14}, [], None),
    ({"celsius": 100}, [], None),
    ({"celsius": 100.5}, [["range(celsius)"]], None),
    ({"celsius": None}, [], None),
    ({"celsius": "1e1"}, [], [["type(celsius)"]]),
    ({"celsius": "NaN"}, [["type(celsius)"]], None),
    ({"celsius": "inf"}, [["type(celsius)"]], None),
    ({"celsius": "1e999"}, [["type(celsius)"]], None),
    ({"celsius": " 1"}, [["type(celsius)"]], None),
    ({"celsius": "1,5"}, [["type(celsius)"]], None),
    ({"retries": 9}, [["range(retries)"]], None),
    ({"retries": -1}, [["range(retries)"]], None),
    ({"retries": 2.5}, [["type(retries)"]], None),
    ({"retries": "1e0"}, [["type(retries)"]], None),
    ({"retries": "+1"}, [["type(retries)"]], None),
    ({"retries": "7"}, [], [["type(retries)"]]),
    ({"retries": "9223372036854775808"}, [["type(retries)"]], None),
    ({"mounted_on": "1999-12-31"}, [["range(mounted_on)"]], None),
    ({"mounted_on": "2010-02-30"}, [["type(mounted_on)"]], None),
    ({"mounted_on": "2010-05-06T00:00:00Z"}, [["type(mounted_on)"]], None),
    ({"armed": "True"}, [["type(armed)"]], None),
    ({"armed": "1"}, [["type(armed)"]], None),
    ({"armed": False}, [], None),
]


@pytest.mark.parametrize(("change", "in_csv", "in_json"), CASES, ids=[str(c[0]) for c in CASES])
def test_a_value_is_what_it_says_or_it_is_refused(change, in_csv, in_json):
    assert reasons(check_csv(GOOD | change)) == in_csv
    assert reasons(check_json(GOOD | change)) == (in_csv if in_json is None else in_json)


def test_a_refused_row_carries_all_its_reasons_and_its_own_text():
    bad = GOOD | {"sensor": None, "at": "soon", "site": "west", "retries": 12, "mounted_on": "1999-01-01"}
    want = ["required(sensor)", "type(at)", "valid_values(site)", "range(retries)", "range(mounted_on)"]
    checked = check_json(GOOD, bad, GOOD)
    assert checked.refused.to_pylist() == [{"row": 1, "raw": json.dumps(bad), "types": None, "reasons": want}]
    assert checked.accepted_rows.to_pylist() == [0, 2]
    assert {f.rule: (f.status, f.rows) for f in checked.findings} == dict.fromkeys(want, (Status.QUARANTINED, 1))
    (refused,) = check_csv(bad).refused.to_pylist()
    assert refused["reasons"] == want
    assert json.loads(refused["raw"])["at"] == "soon"


def test_json_kinds_are_not_mixed_up_in_a_mixed_column():
    checked = check_json(
        *[GOOD | {"sensor": s, "retries": r} for s, r in [("ab", 1), (12, 1), ("ab", "1"), ("ab", {})]]
    )
    assert reasons(checked) == [["type(sensor)"], ["type(retries)"], ["type(retries)"]]


def test_rows_of_different_shapes_keep_their_order():
    checked = check_json(*[GOOD | {"extra": extra} for extra in (1, "x", 2, "y")])
    assert checked.accepted_rows.to_pylist() == [0, 1, 2, 3]
    checked = check_json({}, {"sensor": "ab"}, {}, {"retries": 2**63})
    assert checked.refused["row"].to_pylist() == [0, 1, 2, 3]


def test_a_missing_required_column_refuses_every_row():
    rows = pl.DataFrame([GOOD] * 3).drop("sensor").with_columns(pl.col("at").str.to_datetime(time_zone="UTC"))
    checked = check(rows.drop("mounted_on").to_arrow(), CONTRACT)
    assert reasons(checked) == [["required(sensor)"]] * 3
    assert checked.accepted.schema == CONTRACT.schema


def test_what_is_dropped_or_absent_is_found():
    checked = check_json({"sensor": "ab", "at": GOOD["at"], "colour": "red"})
    found = {f.rule: f.status for f in checked.findings}
    assert found["extra_column(colour)"] is Status.WARNED
    assert found["absent_column(celsius)"] is Status.WARNED
    assert checked.accepted.num_rows == 1


def typed(**columns):
    rows = max(len(c) for c in columns.values())
    good = {"sensor": pa.array(["ab"] * rows), "at": pa.array([datetime(2013, 1, 1, tzinfo=UTC)] * rows, TIMESTAMP)}
    return check(pa.table(good | columns), CONTRACT)


def test_nan_is_no_number_and_infinity_is_no_number_either():
    checked = typed(celsius=pa.array([1.0, float("nan"), float("inf"), None]))
    assert checked.accepted["celsius"].to_pylist() == [1.0, None, None]
    assert reasons(checked) == [["type(celsius)"]]
    assert json.loads(checked.refused["raw"][0].as_py())["celsius"] == "inf"
    assert [f.rows for f in checked.findings if f.rule == "nan(celsius)"] == [1]


def test_nan_in_a_required_number_is_a_missing_number():
    contract = Contract("r", "1", (*FIELDS[:2], Field("celsius", pa.float64(), required=True)), ("sensor", "at"), "at")
    rows = pa.table(
        {"sensor": ["ab"], "at": pa.array([datetime(2013, 1, 1, tzinfo=UTC)], TIMESTAMP), "celsius": [float("nan")]}
    )
    checked = check(rows, contract)
    assert reasons(checked) == [["required(celsius)"]]
    assert json.loads(checked.refused["raw"][0].as_py())["celsius"] == "nan"


@pytest.mark.parametrize(
    ("column", "array", "kept"),
    [
        ("retries", pa.array([1, 2], pa.uint8()), [1, 2]),
        ("retries", pa.array([1.0, 2.5]), [1]),
        ("retries", pa.array([2**64 - 1, 4], pa.uint64()), [4]),
        ("retries", pa.array([2.0**54, 4.0]), [4]),
        ("retries", pa.array(["1", "2"]), []),
        ("celsius", pa.array([1, 2], pa.int32()), [1.0, 2.0]),
        ("celsius", pa.array([1.5, 2.5], pa.float32()), [1.5, 2.5]),
        ("site", pa.array(["north", "south"]).dictionary_encode(), ["north", "south"]),
        ("site", pa.array([1, 2]), []),
        ("site", pa.array([b"north", b"south"]), []),
        ("armed", pa.array([1, 0]), []),
        ("mounted_on", pa.array([10**7, 15000], pa.int32()).cast(pa.date32()), [date(2011, 1, 26)]),
        ("at", pa.array([0, 1], pa.timestamp("us")), []),
        ("at", pa.array([0, 1000], pa.timestamp("ns", "UTC")), [0, 1]),
        ("at", pa.array([0, 1001], pa.timestamp("ns", "UTC")), [0]),
        ("at", pa.array([0, 1], pa.timestamp("ms", "Europe/Paris")), [0, 1000]),
        ("at", pa.array([2**62, 1], pa.timestamp("ms", "UTC")), [1000]),
        ("at", pa.array([0, 1], pa.timestamp("s", "UTC")), [0, 1000000]),
    ],
)
def test_a_typed_column_is_widened_but_never_changed(column, array, kept):
    checked = typed(**{column: array})
    found = checked.accepted[column]
    assert (found.cast(pa.int64()) if column == "at" else found).to_pylist() == kept
    assert checked.accepted.schema == CONTRACT.schema
    assert all(r == [f"type({column})"] for r in reasons(checked))


def test_a_stated_time_format_is_the_only_one():
    form = time_text("dd.MM.yyyy HH:mm", clock=True)
    contract = Contract("r", "1", (Field("at", TIMESTAMP, required=True, text=form),), ("at",), "at")
    checked = check(read_rows(b"at\n01.02.2013 10:15\n2013-02-01T10:15:00Z\n1.2.2013 10:15\n", "csv"), contract)
    assert checked.accepted["at"].to_pylist() == [datetime(2013, 2, 1, 10, 15, tzinfo=UTC)]
    assert checked.accepted_rows.to_pylist() == [0]


def test_times_without_a_zone_are_utc_only_where_the_contract_says_so():
    field = Field("at", TIMESTAMP, required=True, text=ISO_TIMESTAMP_WITHOUT_ZONE)
    contract = Contract("r", "1", (field,), ("at",), "at")
    checked = check(read_rows(b"at\n2013-02-01T10:15:00\n2013-02-01T10:15:00Z\n", "csv"), contract)
    assert checked.accepted["at"].to_pylist() == [datetime(2013, 2, 1, 10, 15, tzinfo=UTC)]
    naive = pa.table({"at": pa.array([datetime(2013, 1, 1)], pa.timestamp("us"))})  # noqa: DTZ001
    assert check(naive, contract).accepted["at"].to_pylist() == [datetime(2013, 1, 1, tzinfo=UTC)]


def test_no_rows_are_no_rows():
    for raw in (read_rows(b"", "jsonl"), read_rows(b"sensor\n", "csv"), RawRows((), read_rows(b"", "jsonl").malformed)):
        checked = check(raw, CONTRACT)
        assert checked.accepted.schema == CONTRACT.schema
        assert (checked.accepted.num_rows, checked.refused.num_rows, len(checked.accepted_rows)) == (0, 0, 0)


values = {
    "sensor": st.sampled_from(["ab", "abc", "", "AB", None, 7]),
    "at": st.sampled_from(["2013-01-01T10:15:00Z", "2013-01-01T10:15:00.25+01:00", "yesterday", None, 5, 0.5]),
    "site": st.sampled_from(["north", "west", None, True]),
    "celsius": st.one_of(
        st.none(), st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**60), 2**60), st.just("1")
    ),
    "retries": st.one_of(st.none(), st.integers(-1, 10), st.sampled_from([1.0, 1.5, "1", [1], 2**53 + 1, 2**63])),
    "armed": st.sampled_from([True, False, None, "true", 1]),
}
records = st.fixed_dictionaries({}, optional=values)
lines = st.lists(
    st.one_of(records.map(json.dumps), records.map(json.dumps), st.sampled_from(["{", "[]", '{"at"'])), max_size=8
)


def outcome(raw):
    """Return what became of each row: its values, or its reasons."""
    checked = check(raw, CONTRACT)
    assert checked.accepted.num_rows + checked.refused.num_rows + raw.malformed.num_rows == raw.num_rows
    for rows in (checked.accepted_rows, checked.refused["row"]):
        assert rows.to_pylist() == sorted(rows.to_pylist())
    found = dict(zip(checked.accepted_rows.to_pylist(), checked.accepted.to_pylist(), strict=True))
    found |= {r["row"]: r["reasons"] for r in checked.refused.to_pylist()}
    found |= {r["row"]: r["reason"] for r in raw.malformed.to_pylist()}
    assert sorted(found) == list(range(raw.num_rows))
    return [found[i] for i in range(raw.num_rows)]


@settings(deadline=None, max_examples=40)
@given(lines, st.data())
def test_a_rows_verdict_depends_on_no_other_row_nor_on_batches(lines, data):
    whole = outcome(read_rows("\n".join(lines).encode(), "jsonl"))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(lines)), max_size=3)))
    batches = [lines[a:b] for a, b in pairwise([0, *cuts, len(lines)])]
    assert whole == [v for b in batches for v in outcome(read_rows("\n".join(b).encode(), "jsonl"))]
    alone = [v for line in lines for v in outcome(read_rows(line.encode(), "jsonl"))]
    assert whole == alone


@settings(deadline=None, max_examples=40)
@given(lines)
def test_what_was_accepted_is_accepted_again_unchanged(lines):
    first = check(read_rows("\n".join(lines).encode(), "jsonl"), CONTRACT)
    again = check(first.accepted, CONTRACT)
    assert again.accepted.equals(first.accepted)
    assert again.refused.num_rows == 0


def csv_record(values):
    sink = io.StringIO()
    csv.writer(sink, quoting=csv.QUOTE_ALL).writerow(values)
    return sink.getvalue()


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.fixed_dictionaries(
            {k: st.one_of(v, st.text(st.characters(codec="utf-8"), max_size=3)) for k, v in values.items()}
        ),
        max_size=8,
    )
)
def test_csv_rows_are_accepted_or_refused_one_by_one(rows):
    header = ",".join(values) + "\n"
    texts = [csv_record([r[k] for k in values]) for r in rows]
    raw = read_rows((header + "".join(texts)).encode(), "csv")
    alone = [v for text in texts for v in outcome(read_rows((header + text).encode(), "csv"))]
    assert outcome(raw) == alone


@pytest.mark.parametrize(
    ("dtype", "step", "kept", "broken"),
    [
        (pa.int64(), 3, [0, 3, -6, None], [1, -2]),
        (pa.float64(), 0.1, [0.3, 0.7, -1.1, 123456.7, 0.0, None], [0.35, 0.1000001]),
        (pa.float64(), 2, [4.0, 1e15], [3.0, 4.000001]),
    ],
)
def test_a_multiple_is_one_up_to_the_rounding_of_floats(dtype, step, kept, broken):
    field = Field("x", dtype, multiple_of=step)
    contract = Contract("r", "1", (Field("at", TIMESTAMP, required=True), field), ("at",), "at")
    values = [*kept, *broken]
    checked = check(pa.table({"at": pa.array([0] * len(values), TIMESTAMP), "x": pa.array(values, dtype)}), contract)
    assert checked.accepted["x"].to_pylist() == kept
    assert checked.refused["reasons"].to_pylist() == [["multiple(x)"]] * len(broken)
