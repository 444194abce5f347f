"""Duplicates beyond the window are counted by a sample of ids: fair, the same for ever, and honest about what it knows."""

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.contracts.late import RULE, SHARE, Late, in_sample, poisson_interval, with_late
from raypipe.verdict import Finding, Status, worst

PASSED = worst([Finding("dead_letter_rate", Status.PASSED, "none")])
WEEK = timedelta(days=7)
EXPECTED = [
    "trip-13",
    "trip-14",
    "trip-246",
    "trip-250",
    "trip-497",
    "trip-791",
    "83|2013-01-01T10:15:00Z|ÄÖ",
    "176|2013-01-01T10:15:00Z|ÄÖ",
    "225|2013-01-01T10:15:00Z|ÄÖ",
]
texts = st.lists(st.text(max_size=40), max_size=40)


def late(matches, **others):
    counts = {"accepted": 1_000_000, "sampled": 3_900, "earlier_rows": 9_000_000, "earlier_sampled": 35_000}
    return Late(date(2013, 1, 1), matches=matches, **(counts | others))


def sampled(*chunks):
    return in_sample(pa.chunked_array(list(chunks), pa.string())).tolist()


@given(ids=texts, cut=st.integers(0, 40))
def test_whether_an_id_is_in_the_sample_depends_on_nothing_but_itself(ids, cut):
    alone = [sampled([i])[0] for i in ids]
    assert sampled(ids) == sampled(ids[:cut], ids[cut:]) == alone
    assert sampled(pa.array(ids, pa.string())[cut:]) == alone[cut:]
    assert sampled(ids[::-1]) == alone[::-1]


def test_blocks_of_many_rows_change_nothing():
    ids = [f"trip-{n}" for n in range(20_000)]
    assert sampled(ids) == [part for n in range(0, 20_000, 977) for part in sampled(ids[n : n + 977])]


def test_the_sample_is_the_one_that_is_kept_in_lakes():
    """Another hash would find nothing any more in samples of earlier versions: then rename the table."""
    ids = [*(f"trip-{n}" for n in range(800)), *(f"{n}|2013-01-01T10:15:00Z|ÄÖ" for n in range(800))]
    assert [i for i, chosen in zip(ids, sampled(ids), strict=True) if chosen] == EXPECTED


@pytest.mark.parametrize("form", ["{}", "{:012d}", "UA|{}|EWR", "{:x}-0000-0000-0000"])
def test_ids_that_hardly_differ_are_sampled_at_random(form):
    chosen = np.array(sampled([form.format(n) for n in range(256_000)]))
    # A thousand are expected; beyond four standard deviations comes once in 16,000.
    assert abs(chosen.sum() - 1000) < 4 * np.sqrt(1000)
    by_place = chosen.reshape(32, -1).sum(axis=1)
    assert ((by_place - 1000 / 32) ** 2 / (1000 / 32)).sum() < 65  # chi-square, 31 degrees: 99.97 %


def test_the_estimate_is_unbiased_and_its_interval_covers_the_truth():
    truth, trials = 4_000, 400
    chosen = np.array(sampled([f"event-{n}" for n in range(truth * trials)])).reshape(trials, truth).sum(axis=1)
    found = [late(int(n)) for n in chosen]
    mean = np.mean([f.estimate for f in found])
    error = SHARE * np.sqrt(truth / SHARE / trials)
    assert abs(mean - truth) < 3 * error
    assert np.mean([f.low <= truth <= f.high for f in found]) >= 0.93


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [(0, 0, 3.689), (1, 0.0253, 5.572), (3, 0.619, 8.767), (10, 4.795, 18.39), (100, 81.364, 121.627)],
)
def test_the_interval_is_garwoods_or_begins_somewhat_lower(count, low, high):
    found = poisson_interval(count)
    assert found == (pytest.approx(low, rel=0.03 if count > 1 else 1), pytest.approx(high, rel=0.006))
    assert found[0] <= low + 1e-9


@given(matches=st.integers(0, 3_900), accepted=st.integers(3_900, 10**7))
def test_the_estimate_lies_in_its_interval_and_neither_leaves_what_is_possible(matches, accepted):
    found = late(matches, accepted=accepted)
    assert matches <= found.low <= found.estimate <= found.high <= accepted


def test_no_match_is_no_finding_but_has_an_upper_bound():
    assert with_late(PASSED, late(0), "trips", WEEK) == PASSED
    assert (late(0).low, late(0).high) == (0, 940)


def test_a_match_is_a_warning_with_numbers_and_what_to_do():
    verdict = with_late(PASSED, late(9), "trips", WEEK)
    assert verdict.status is Status.WARNED
    assert verdict.findings[-1].rule == RULE
    assert verdict.findings[-1].message == (
        "about 2,300 (1,100 to 4,400) of 1,000,000 accepted rows of `trips` seem to be duplicates of events before "
        "2013-01-01, beyond the window of 1w, and were let in: widen `sources.trips.dedup.window`, and backfill the "
        "days that hold them"
    )


def test_a_worse_verdict_stays_as_bad():
    worse = worst([Finding("dead_letter_rate", Status.QUARANTINED, "some")])
    assert with_late(worse, late(9), "trips", WEEK).status is Status.QUARANTINED


def test_where_most_earlier_events_were_never_sampled_there_is_no_upper_bound():
    assert late(0, earlier_sampled=10_000).high is None
    assert late(0, earlier_sampled=0).high is None
    assert "1,100 or more" in with_late(PASSED, late(9, earlier_sampled=10_000), "trips", WEEK).findings[-1].message


def test_without_an_earlier_row_there_is_no_duplicate():
    assert late(0, earlier_rows=0, earlier_sampled=0).high == 0


def test_what_is_on_record_is_read_back():
    assert Late.of(late(9).plain()) == late(9)
    assert late(0, earlier_sampled=0).plain()["high"] is None
