"""The gate of a stream: the newest messages decide, and few are no reason to stop."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.contracts.gate import GateEvidence
from raypipe.contracts.recent import WINDOW, judge_recent
from raypipe.contracts.source import HaltWhen
from raypipe.verdict import Status

LIMITS = HaltWhen(dead_letter_rate=0.05)


def batch(rows, bad):
    return GateEvidence(1, 0, rows, rows - bad, bad, 0, (("malformed(json)", bad),) if bad else ())


def judged(*batches, limits=LIMITS):
    recent = ()
    for counts in batches:
        verdict, recent = judge_recent(recent, counts, limits, "rides")
    return verdict


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        ([batch(10, 0)], Status.PASSED),
        ([batch(3, 3)], Status.QUARANTINED),
        ([batch(50, 50)], Status.QUARANTINED),
        ([batch(51, 51)], Status.HALTED),
        ([batch(2_000, 100)], Status.QUARANTINED),
        ([batch(2_000, 101)], Status.HALTED),
        ([batch(1, 1)] * 50, Status.QUARANTINED),
        ([batch(1, 1)] * 51, Status.HALTED),
        ([*[batch(1, 1)] * 50, batch(WINDOW, 0), batch(1, 1)], Status.QUARANTINED),
    ],
)
def test_a_stream_halts_when_too_many_of_its_newest_messages_are_refused(batches, expected):
    assert judged(*batches).status is expected


def test_a_halt_says_how_many_of_how_many_why_and_what_to_do():
    said = judged(batch(100, 80)).sentence()
    assert "80 of the newest 100 messages of `rides` were refused, malformed(json): 80, the limit is 5 %" in said
    assert "raise sources.rides.halt_when.dead_letter_rate" in said


@given(st.lists(st.integers(1, 400), min_size=1, max_size=30))
def test_what_is_recent_is_enough_and_no_batch_more(sizes):
    recent = ()
    for rows in sizes:
        _, recent = judge_recent(recent, batch(rows, 0), LIMITS, "rides")
    kept = [e.rows for e in recent]
    assert sum(kept) >= min(WINDOW, sum(sizes))
    assert sum(kept[1:]) < WINDOW
