from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.decision import follow
from raypipe.rollout.analysis import ErrorEvidence
from raypipe.rollout.evidence import Evidence, StepEvidence
from raypipe.rollout.spec import ReleaseSpec
from raypipe.rollout.state import TRANSITIONS, Phase, Release, Served, fold, target, to_evidence

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
OLD, NEW = Served("1", "aa"), Served("2", "bb")
CANARY = ReleaseSpec.model_validate(
    {"steps": [{"weight": {"percent": 10}}, {"pause": {}}, {"adopt": {}}], "unit": {"header": "x-user-id"}}
)
COUNTED = Evidence({(3, "a"): StepEvidence(ErrorEvidence(5, 1, 50, 0), 2, {"timeout": 1}, 0.5)})


def release(phase, champion=OLD, step=0):
    return Release(phase, 3, NEW, champion, NOW, "", "m-1", CANARY, step, 2, COUNTED)


@pytest.mark.parametrize("champion", [None, OLD])
@pytest.mark.parametrize("phase", list(Phase))
def test_a_state_is_found_again_in_its_decision(phase, champion):
    kept = release(phase, champion)
    previous = None
    for _ in range(3):
        previous = follow(previous, stream="r", at=NOW, who="w", what="plan", why="", evidence=to_evidence(kept))
    assert fold([previous]) == kept


def test_every_phase_can_be_reached_and_every_unfinished_one_left():
    reached = {Phase.PLANNED}
    while more := {to for (phase, _), to in TRANSITIONS.items() if phase in reached} - reached:
        reached |= more
    assert reached == set(Phase)
    assert {phase for phase, _ in TRANSITIONS} - {None} == set(Phase)


def test_the_former_champion_stays_loaded_for_an_instant_undo():
    assert target(release(Phase.SUCCEEDED)).champion == NEW
    assert target(release(Phase.SUCCEEDED)).loaded == (NEW, OLD)
    assert target(release(Phase.UNDONE)).champion == OLD


def test_an_aborted_candidate_is_unloaded_and_no_longer_tried():
    assert target(release(Phase.ABORTED)).loaded == (OLD,)
    assert target(release(Phase.ABORTED)).challenger is None


def test_a_challenger_keeps_its_salt_in_a_rollout_and_gets_another_in_the_next():
    first, later = release(Phase.SHIFTING), release(Phase.PAUSED, step=1)
    other = Release(Phase.SHIFTING, 9, NEW, OLD, NOW, "", "m-7", CANARY, 0, 8)
    assert target(first).challenger.salt == target(later).challenger.salt
    assert target(first).challenger.salt != target(other).challenger.salt
    assert target(later).challenger.percent == 10


@pytest.mark.parametrize(
    ("release", "words"),
    [
        ({"steps": [{"weight": {"percent": 10}}]}, "ends with {adopt: {}}"),
        ({"steps": [{"adopt": {}}, {"adopt": {}}]}, "ends with {adopt: {}}"),
        ({"steps": [{"weight": {"percent": 20}}, {"weight": {"percent": 10}}, {"adopt": {}}]}, "20, 10"),
        ({"steps": [{"weight": {"percent": 60}}, {"adopt": {}}]}, "less than or equal to 50"),
        ({"steps": [{"weight": {"percent": 5}, "pause": {}}, {"adopt": {}}]}, "this one has weight, pause"),
        ({"steps": [{"shadow": {}}, {"adopt": {}}], "side_effects": True}, "forbids shadow"),
        ({"steps": [{"shadow": {}}, {"adopt": {}}], "guardrails": []}, "nothing judges"),
        ({"unit": {"header": "x", "field": "y"}}, "a header or a field"),
    ],
)
def test_steps_that_make_no_sense_are_refused_with_a_reason(release, words):
    with pytest.raises(ValueError, match=words):
        ReleaseSpec.model_validate(release)


parts = st.dictionaries(
    st.tuples(st.integers(1, 3), st.sampled_from("ab")),
    st.integers(0, 9).map(lambda n: StepEvidence(ErrorEvidence(challenger_requests=n))),
)


@given(parts, parts, parts)
def test_evidence_merges_in_any_order_and_asking_twice_counts_once(a, b, c):
    a, b, c = Evidence(a), Evidence(b), Evidence(c)
    assert a.merge(b).merge(c).errors() == a.merge(b.merge(c)).errors() == c.merge(a).merge(b).errors()
    assert a.merge(a) == a
    assert a.merge(Evidence()) == a
    assert Evidence.from_json(a.to_json()) == a


def test_evidence_of_a_step_leaves_out_what_came_before():
    counted = Evidence({(g, "a"): StepEvidence(ErrorEvidence(challenger_requests=g)) for g in (2, 3, 4)})
    assert [e.challenger_requests for e in counted.errors()] == [9]
    assert [e.challenger_requests for e in counted.errors(since=3)] == [7]
