from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.decision import follow
from raypipe.rollout.decide import Observed, decide, plan
from raypipe.rollout.state import TRANSITIONS, Phase, Release, Served, fold, target, to_evidence

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
OLD, NEW = Served("1", "aa"), Served("2", "bb")

observations = st.builds(
    Observed,
    expected=st.integers(0, 4),
    prepared=st.integers(0, 4),
    serving=st.integers(0, 4),
    refused=st.none() | st.just("digest differs"),
    smoke=st.none() | st.booleans(),
    smoke_message=st.just("it answered"),
)


def state(phase=Phase.PLANNED, champion=OLD, deadline=NOW + timedelta(minutes=5)):
    return Release(phase, 3, NEW, champion, deadline, "")


def test_a_candidate_that_is_loaded_everywhere_and_answers_is_adopted():
    step = decide(state(), Observed(2, prepared=2, serving=0, smoke=True), NOW)
    assert (step.what, step.state.phase, step.state.generation) == ("adopt", Phase.ADOPTING, 4)


def test_a_candidate_that_one_replica_lacks_waits():
    assert decide(state(), Observed(2, prepared=1, serving=0, smoke=True), NOW) is None


def test_no_replicas_at_all_is_no_evidence():
    assert decide(state(), Observed(0, prepared=0, serving=0, smoke=True), NOW) is None
    assert decide(state(Phase.ADOPTING), Observed(0, 0, 0), NOW) is None


def test_a_refused_bundle_aborts_and_says_why():
    step = decide(state(), Observed(2, 1, 0, refused="weights.safetensors was changed"), NOW)
    assert step.what == "abort"
    assert "weights.safetensors was changed" in step.why


def test_a_failed_smoke_test_aborts_with_what_it_saw():
    step = decide(state(), Observed(1, 1, 0, smoke=False, smoke_message="answered 500"), NOW)
    assert step.what == "abort"
    assert "answered 500" in step.why


def test_the_deadline_ends_every_wait_and_returns_traffic_to_the_champion():
    late = NOW + timedelta(minutes=6)
    for phase in (Phase.PLANNED, Phase.ADOPTING):
        step = decide(state(phase), Observed(2, 1, 1), late)
        assert step.what == "abort"
        assert target(step.state).champion == OLD


@given(st.sampled_from(Phase), observations, st.integers(-600, 600))
def test_the_candidate_is_never_champion_unless_every_replica_held_it_and_it_answered(phase, observed, seconds):
    before = state(phase)
    step = decide(before, observed, NOW + timedelta(seconds=seconds))
    if step and step.what == "adopt":
        assert observed.smoke is True
        assert observed.refused is None
        assert observed.prepared >= observed.expected > 0


@given(st.sampled_from(Phase), observations, st.integers(-600, 600))
def test_every_decision_is_a_transition_of_the_table_and_one_generation_on(phase, observed, seconds):
    before = state(phase)
    step = decide(before, observed, NOW + timedelta(seconds=seconds))
    if step:
        assert TRANSITIONS[phase, step.what] is step.state.phase
        assert step.state.generation == before.generation + 1
    if before.finished:
        assert step is None


@pytest.mark.parametrize("champion", [None, OLD])
@pytest.mark.parametrize("phase", list(Phase))
def test_a_state_is_found_again_in_its_decision(phase, champion):
    kept = state(phase, champion)
    previous = None
    for _ in range(3):
        previous = follow(previous, stream="r", at=NOW, who="w", what="plan", why="", evidence=to_evidence(kept))
    assert fold([previous]) == kept


def test_a_bootstrap_serves_nothing_until_it_is_adopted():
    planned = plan(None, NEW, None, NOW).state
    assert planned.strategy == "bootstrap"
    assert target(planned).champion is None
    assert target(planned).loaded == (NEW,)


def test_the_former_champion_stays_loaded_for_an_instant_undo():
    assert target(state(Phase.SUCCEEDED)).champion == NEW
    assert target(state(Phase.SUCCEEDED)).loaded == (NEW, OLD)


def test_an_aborted_candidate_is_unloaded():
    assert target(state(Phase.ABORTED)).loaded == (OLD,)


def test_a_second_release_is_not_planned_while_one_is_under_way():
    with pytest.raises(ValueError, match="still under way"):
        plan(state(Phase.ADOPTING), Served("3", "cc"), OLD, NOW)
