from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pytest
from lives import NOW, REFERENCE, live

from raypipe.drift.decide import decide, empty, judge_live
from raypipe.drift.spec import MonitorSpec, TriggersSpec
from raypipe.profile import Profile
from raypipe.verdict import Status

SPEC, TRIGGERS = MonitorSpec(), TriggersSpec()


def judged(found, expected=0.65, **rest):
    findings = judge_live(found, REFERENCE, expected, SPEC)
    options = {"last_fired_at": None, "running": None, "now": NOW} | rest
    return decide(findings, found, TRIGGERS, quality="auc", **options)


def status(found, rule, expected=0.65):
    return {f.rule: f.status for f in judge_live(found, REFERENCE, expected, SPEC)}[rule]


def test_nothing_unusual_holds_with_the_numbers():
    found = judged(live())
    assert found.what == "hold"
    assert "auc is 0." in found.why
    assert "score has moved by PSI" in found.why


def test_inputs_that_move_alone_do_not_start_a_retraining():
    assert status(live(shift=2), "psi(x)") is Status.HARMFUL
    assert judged(live(shift=2)).what == "hold"


def test_scores_that_move_do():
    found = judged(live(score_shift=1))
    assert found.what == "fire"
    assert "score has moved" in found.why


def test_quality_that_falls_does_and_noise_does_not():
    assert judged(live(quality=0.0)).what == "fire"
    assert judged(live(quality=0.0, labels=600), expected=0.53).what == "hold"


def test_too_few_labels_or_rows_decide_nothing():
    assert status(live(quality=0.0, labels=100), "auc") is Status.INSUFFICIENT
    assert status(live(quality=0.0), "auc", expected=None) is Status.INSUFFICIENT
    assert judged(live(score_shift=3, rows=100)).what == "hold"
    nothing = judged(empty("1", NOW, NOW))
    assert (nothing.what, "0 predictions" in nothing.why) == ("hold", True)


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ({"running": "retrain-m-3"}, "retrain-m-3 has not ended"),
        ({"last_fired_at": NOW - timedelta(hours=23)}, "cooldown lasts until 2026-01-01 13:00Z"),
    ],
)
def test_a_retraining_under_way_and_the_cooldown_hold_back(rest, words):
    found = judged(live(score_shift=1), **rest)
    assert found.what == "hold"
    assert words in found.why


def test_after_the_cooldown_it_fires_again():
    assert judged(live(score_shift=1), last_fired_at=NOW - timedelta(hours=25)).what == "fire"


def test_a_timestamp_always_moves_and_is_not_judged():
    column = pa.array([NOW] * 3000, pa.timestamp("us", "UTC"))
    found = live()
    moved = replace(found, profile=found.profile.merge(Profile.of(pa.table({"at": column}))))
    assert "psi(at)" not in {f.rule for f in judge_live(moved, REFERENCE, 0.65, SPEC)}
