"""The ledger states exactly what an ingest under the contracts finds, and faults stay few."""

from collections import Counter
from datetime import date, timedelta

import pytest
from drops import SUFFIXES, drops, ledger
from faults import LATE_BY, SOURCES, FaultKind, fault_on
from hypothesis import given
from hypothesis import strategies as st

from raypipe.contracts.checks import check
from raypipe.contracts.events import event_ids
from raypipe.contracts.formats import read_rows
from raypipe.contracts.odcs import load_contract

SEED = 7
START, END = date(2013, 2, 1), date(2013, 2, 28)


@pytest.fixture(scope="module")
def february():
    return list(drops(START, END, SEED))


def ingested(some_drops, directory):
    """Return what a plain ingest of the drops, in this order, finds by source: rows, accepted, duplicates, reasons."""
    found = {}
    for source, format in SUFFIXES.items():
        file = directory / f"{source}.odcs.yaml"
        contract = load_contract(file.read_text(), str(file))
        seen, tally, reasons = set(), Counter(), Counter()
        for drop in (d for d in some_drops if d.source == source):
            raw = read_rows(drop.data, format)
            checked = check(raw, contract)
            ids = event_ids(checked.accepted, contract).to_pylist()
            reasons.update(r for row in checked.refused["reasons"].to_pylist() for r in row)
            reasons.update(raw.malformed["reason"].to_pylist())
            tally["rows"] += len(ids) + checked.refused.num_rows + raw.malformed.num_rows
            tally["accepted"] += len(set(ids) - seen)
            tally["duplicates"] += len(ids) - len(set(ids) - seen)
            seen.update(ids)
        found[source] = (tally["rows"], tally["accepted"], tally["duplicates"], dict(reasons))
    return found


@pytest.mark.parametrize("seed", [SEED, 8, None])
def test_the_ledger_states_exactly_what_an_ingest_finds(seed, flights_directory):
    landed = list(drops(START, END, seed))
    expected = {
        name: (s.rows, s.accepted, s.duplicates, s.dead_letters)
        for name, s in ledger(landed, START, END, seed).sources.items()
    }
    assert ingested(landed, flights_directory) == expected


def test_every_kind_of_fault_occurs_and_the_real_defect_too(february):
    book = ledger(february, START, END, SEED)
    assert {f.kind for f in book.faults} == set(FaultKind)
    assert book.sources["weather"].dead_letters == {"range(wind_speed)": 1}


def test_without_a_seed_nothing_is_injected():
    book = ledger(list(drops(START, END)), START, END, None)
    assert book.faults == ()
    assert [s.duplicates for s in book.sources.values()] == [0, 0, 0, 0]


@given(seed=st.integers(0, 10_000), month=st.integers(1, 12))
def test_two_faults_never_meet_in_one_drop_and_replays_copy_a_sound_day(seed, month):
    days = [date(2013, month, d) for d in range(1, 29)]
    plan = {(s, d): kind for s in SUFFIXES for d in days if (kind := fault_on(s, d, seed))}
    assert set(plan.values()) == set(FaultKind)
    assert all(source in SOURCES[kind] for (source, _), kind in plan.items())
    for (source, day), kind in plan.items():
        if kind is FaultKind.REPLAYED:
            assert (source, day - timedelta(days=1)) not in plan
        if kind is FaultKind.LATE:
            assert (day + LATE_BY).month == month


def test_injected_faults_are_below_2_percent_of_the_rows(february):
    book = ledger(february, START, END, SEED)
    injected = sum(f.rows for f in book.faults if f.kind is not FaultKind.LATE)
    assert 0 < injected < 0.02 * sum(s.rows for s in book.sources.values())
    for source in book.sources.values():
        assert sum(source.dead_letters.values()) < 0.05 * source.rows


def test_landing_in_two_steps_gives_the_same_bytes_as_in_one(february):
    middle = date(2013, 2, 13)
    steps = [*drops(START, middle, SEED), *drops(middle + timedelta(days=1), END, SEED)]
    assert {d.name: d.data for d in steps} == {d.name: d.data for d in february}
    assert len(steps) == len(february)


def test_a_late_drop_comes_three_days_later_under_a_name_of_its_own(february):
    (late,) = [f.object for f in ledger(february, START, END, SEED).faults if f.kind is FaultKind.LATE]
    own_day = date.fromisoformat(late.removeprefix("arrivals/").removesuffix("-late.jsonl"))
    names = {d.name for d in drops(START, own_day + timedelta(days=2), SEED)}
    assert late not in names
    assert f"arrivals/{own_day}.jsonl" not in names
    assert late in {d.name for d in drops(own_day + LATE_BY, own_day + LATE_BY, SEED)}
    held = next(d for d in february if d.name == late)
    assert held.data == next(d for d in drops(own_day, own_day) if d.source == "arrivals").data


def test_a_replayed_row_is_an_exact_copy_of_one_of_the_day_before(february):
    by_name = {d.name: d for d in february}
    faults = [f for f in ledger(february, START, END, SEED).faults if f.kind is FaultKind.REPLAYED]
    schedules = [f for f in faults if f.object.startswith("schedules/")]
    assert len(schedules) == 4
    for fault in schedules:
        day = date.fromisoformat(fault.object[len("schedules/") :][:10])
        before = by_name[f"schedules/{day - timedelta(days=1)}.csv"].data.splitlines()
        copies = by_name[fault.object].data.splitlines()[-fault.rows :]
        assert set(copies) <= set(before[1:])
