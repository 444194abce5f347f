from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.rollout.analysis import ErrorMeter
from raypipe.rollout.decide import abort, decide, plan, resume, undo
from raypipe.rollout.evidence import Evidence, StepEvidence
from raypipe.rollout.spec import ReleaseSpec
from raypipe.rollout.standing import Observed, standing
from raypipe.rollout.state import TRANSITIONS, Phase, Release, Served, target

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATE = NOW + timedelta(hours=3)
OLD, NEW = Served("1", "aa"), Served("2", "bb")
CANARY = ReleaseSpec.model_validate(
    {
        "steps": [
            {"shadow": {"percent": 100, "min_pairs": 500, "deadline": "1h"}},
            {"weight": {"percent": 10, "min_requests": 200, "deadline": "1h"}},
            {"weight": {"percent": 50, "min_requests": 200, "deadline": "1h"}},
            {"adopt": {}},
        ],
        "guardrails": [{"metric": "error_rate", "margin": 0.05}],
    }
)
PAUSING = ReleaseSpec.model_validate({"steps": [{"weight": {"percent": 10}}, {"pause": {}}, {"adopt": {}}]})


def told_by(meter):
    """Return what a replica tells that has seen each unit once."""
    errors = meter.evidence()
    return StepEvidence(errors, asked=errors.challenger_requests, copied=errors.pairs)


def state(phase=Phase.PLANNED, champion=OLD, deadline=NOW + timedelta(minutes=5), spec=CANARY, step=-1):
    return Release(phase, 3, NEW, champion, deadline, "", "m-3", spec, step, 3)


def requests(champion, challenger, *, share=0.1, errors=0, generation=3, replica="a"):
    """Evidence of so many requests by arm, of which the challenger failed `errors`, mixed evenly."""
    meter = ErrorMeter()
    total = champion + challenger
    failed = 0
    for i in range(total):
        ours = (i + 1) * challenger // total > i * challenger // total
        fails = ours and failed < errors
        failed += fails
        meter.request(challenger=ours, share=share, failed=fails)
    return Evidence({(generation, replica): told_by(meter)})


def pairs(count, errors=0, generation=3):
    meter = ErrorMeter()
    for i in range(count):
        meter.pair(challenger_failed=i < errors, champion_failed=False)
    return Evidence({(generation, "a"): told_by(meter)})


def seen(evidence=None, ready=1, **rest):
    counted = evidence or Evidence()
    return Observed(1, 1, 1, challenger_expected=1, challenger_ready=ready, evidence=counted, **rest)


def test_a_challenger_that_runs_and_answers_its_example_is_shadowed_first():
    step = decide(state(), seen(smoke=True, smoke_message="it answered"), NOW)
    assert (step.what, step.state.phase, step.state.step, step.state.step_since) == ("shadow", Phase.SHADOWING, 0, 4)
    assert step.state.deadline_at == NOW + timedelta(hours=1)
    assert target(step.state).challenger.shadow_percent == 100
    assert target(step.state).challenger.percent == 0
    assert NEW not in target(step.state).loaded


def test_enough_pairs_without_harm_lead_to_the_first_weight_and_evidence_of_both_to_the_next():
    shadowing = state(Phase.SHADOWING, step=0)
    assert decide(shadowing, seen(pairs(499)), NOW) is None
    shifted = decide(shadowing, seen(pairs(500)), NOW)
    assert (shifted.what, shifted.state.step) == ("shift", 1)
    assert "500 of 500 pairs" in shifted.why
    assert target(shifted.state).challenger.percent == 10
    # Minimums count this step's own requests, safety may rest on all.
    assert decide(shifted.state, seen(requests(1800, 199, generation=4)), NOW) is None
    again = decide(shifted.state, seen(requests(1800, 200, generation=4)), NOW)
    assert target(again.state).challenger.percent == 50


def test_the_last_weight_prepares_and_only_a_candidate_in_every_gateway_is_adopted():
    weighted = state(Phase.SHIFTING, step=2)
    prepared = decide(weighted, seen(requests(500, 500, share=0.5)), NOW)
    assert prepared.what == "prepare"
    ordered = target(prepared.state)
    assert ordered.champion == OLD
    assert ordered.challenger.percent == 50
    assert ordered.loaded == (OLD, NEW)
    assert decide(prepared.state, replace(seen(smoke=True), prepared=0), NOW) is None
    adopted = decide(prepared.state, seen(smoke=True), NOW)
    assert adopted.what == "adopt"
    assert target(adopted.state).champion == NEW
    assert target(adopted.state).challenger is None


@pytest.mark.parametrize("phase", [Phase.SHADOWING, Phase.SHIFTING, Phase.PREPARING, Phase.PAUSED])
def test_harm_aborts_at_once_whatever_the_phase(phase):
    step = decide(state(phase, step=1), seen(requests(900, 100, errors=60)), NOW)
    assert step.what == "abort"
    assert "60 of 100" in step.why
    assert target(step.state).challenger is None


def test_a_guardrail_on_trial_never_decides():
    spec = CANARY.model_copy(update={"guardrails": (CANARY.guardrails[0].model_copy(update={"dry_run": True}),)})
    assert decide(state(Phase.SHIFTING, step=1, spec=spec), seen(requests(900, 100, errors=60)), NOW) is None


def test_harm_seen_in_an_earlier_step_is_not_forgotten():
    before = replace(state(Phase.SHIFTING, step=2), evidence=requests(900, 100, errors=60, generation=2))
    assert decide(before, seen(requests(10, 10, share=0.5)), NOW).what == "abort"


def test_no_traffic_at_all_never_advances_and_the_deadline_says_how_much_was_missing():
    weighted = state(Phase.SHIFTING, step=1)
    assert decide(weighted, seen(), NOW) is None
    step = decide(weighted, seen(), LATE)
    assert step.what == "abort"
    assert "0 of 200 challenger requests at the deadline 2026-01-01 12:05:00Z" in step.why


@pytest.mark.parametrize(("on_deadline", "what"), [("pause", "pause"), ("advance_if_not_harmful", "shift")])
def test_at_the_deadline_the_file_says_what_happens(on_deadline, what):
    spec = CANARY.model_copy(update={"on_deadline": on_deadline})
    # Not harmful, not safe: a few errors on both sides of the margin.
    observed = seen(requests(1800, 200, errors=10))
    assert decide(state(Phase.SHIFTING, step=1, spec=spec), observed, NOW) is None
    assert decide(state(Phase.SHIFTING, step=1, spec=spec), observed, LATE).what == what


def test_advancing_at_the_deadline_still_needs_the_minimum():
    spec = CANARY.model_copy(update={"on_deadline": "advance_if_not_harmful"})
    assert decide(state(Phase.SHIFTING, step=1, spec=spec), seen(requests(90, 10)), LATE).what == "abort"


def test_a_weight_is_not_raised_while_challenger_replicas_are_missing():
    observed = seen(requests(1800, 200), ready=0)
    assert decide(state(Phase.SHIFTING, step=1), observed, NOW) is None
    assert "capacity: 0 of 1" in standing(state(Phase.SHIFTING, step=1), observed)


def test_a_challenger_that_stays_unreachable_is_aborted():
    assert decide(state(Phase.SHIFTING, step=1), seen(circuit_open_s=10), NOW) is None
    step = decide(state(Phase.SHIFTING, step=1), seen(circuit_open_s=21), NOW)
    assert step.what == "abort"
    assert "21 s" in step.why


def test_a_pause_waits_for_a_person_and_keeps_the_weight():
    paused = decide(state(Phase.SHIFTING, step=0, spec=PAUSING), seen(requests(9000, 1000)), NOW).state
    assert paused.phase is Phase.PAUSED
    assert target(paused).challenger.percent == 10
    assert decide(paused, seen(requests(9000, 1000)), LATE) is None
    assert resume(paused, NOW).what == "prepare"


def test_a_pause_at_a_deadline_resumes_the_same_step_with_a_new_deadline():
    spec = CANARY.model_copy(update={"on_deadline": "pause"})
    paused = decide(state(Phase.SHIFTING, step=1, spec=spec), seen(), LATE).state
    resumed = resume(paused, LATE).state
    assert (resumed.phase, resumed.step, resumed.deadline_at) == (Phase.SHIFTING, 1, LATE + timedelta(hours=1))


def test_without_steps_a_candidate_loaded_everywhere_takes_over_at_once():
    step = decide(state(spec=ReleaseSpec()), Observed(2, prepared=2, serving=0, smoke=True), NOW)
    assert (step.what, step.state.phase, step.state.generation) == ("adopt", Phase.ADOPTING, 4)
    assert decide(state(spec=ReleaseSpec()), Observed(2, prepared=1, serving=0, smoke=True), NOW) is None


def test_a_first_champion_skips_the_steps_for_there_is_nobody_to_compare_it_with():
    planned = plan(None, name="m", candidate=NEW, champion=None, spec=CANARY, now=NOW).state
    assert planned.strategy == "bootstrap"
    assert (target(planned).champion, target(planned).loaded, target(planned).challenger) == (None, (NEW,), None)
    assert decide(planned, Observed(1, 1, 0, smoke=True), NOW).what == "adopt"


def test_no_replicas_at_all_is_no_evidence():
    assert decide(state(), Observed(0, prepared=0, serving=0, smoke=True), NOW) is None
    assert decide(state(Phase.ADOPTING), Observed(0, 0, 0), NOW) is None


def test_a_refused_bundle_or_a_failed_smoke_test_aborts_and_says_why():
    for observed, words in (
        (seen(refused="weights.safetensors was changed"), "weights.safetensors was changed"),
        (seen(smoke=False, smoke_message="answered 500"), "answered 500"),
    ):
        step = decide(state(), observed, NOW)
        assert step.what == "abort"
        assert words in step.why


def test_the_deadline_ends_every_wait_for_loading():
    for phase in (Phase.PLANNED, Phase.PREPARING, Phase.ADOPTING):
        step = decide(state(phase, step=3), Observed(2, 1, 1), LATE)
        assert step.what == "abort"
        assert target(step.state).champion == OLD


def test_an_undo_returns_to_the_former_champion_and_needs_one():
    undone = undo(state(Phase.SUCCEEDED), "errors in the shop").state
    assert target(undone).champion == OLD
    with pytest.raises(ValueError, match="first champion"):
        undo(state(Phase.SUCCEEDED, champion=None), "")
    with pytest.raises(ValueError, match="shifting, not succeeded"):
        undo(state(Phase.SHIFTING), "")


def test_what_is_finished_is_not_aborted_and_what_is_not_paused_is_not_resumed():
    with pytest.raises(ValueError, match="aborted already"):
        abort(state(Phase.ABORTED), "")
    with pytest.raises(ValueError, match="not paused"):
        resume(state(Phase.SHIFTING), NOW)


def test_a_second_release_is_not_planned_while_one_is_under_way():
    with pytest.raises(ValueError, match="still under way"):
        plan(state(Phase.ADOPTING), name="m", candidate=NEW, champion=OLD, spec=CANARY, now=NOW)


counted = st.builds(
    requests, st.integers(0, 60), st.integers(1, 60), errors=st.integers(0, 60), generation=st.sampled_from([2, 3])
)
observations = st.builds(
    Observed,
    expected=st.integers(0, 3),
    prepared=st.integers(0, 3),
    serving=st.integers(0, 3),
    refused=st.none() | st.just("digest differs"),
    smoke=st.none() | st.booleans(),
    smoke_message=st.just("it answered"),
    challenger_expected=st.integers(0, 2),
    challenger_ready=st.integers(0, 2),
    evidence=st.just(Evidence()) | counted,
    circuit_open_s=st.sampled_from([0.0, 30.0]),
)
states = st.builds(
    state,
    phase=st.sampled_from(Phase),
    champion=st.sampled_from([None, OLD]),
    spec=st.sampled_from([CANARY, PAUSING, ReleaseSpec()]),
    step=st.integers(0, 2),
).filter(
    lambda s: (
        s.step < len(s.spec.steps)
        and (s.phase not in (Phase.SHADOWING, Phase.SHIFTING) or s.step < len(s.spec.steps) - 1)
    )
)


def exposure(release):
    ordered = target(release)
    if ordered.champion == NEW:
        return 100.0
    return ordered.challenger.percent if ordered.challenger else 0.0


@given(states, observations, st.integers(-600, 600))
def test_every_decision_is_a_transition_of_the_table_and_one_generation_on(before, observed, seconds):
    step = decide(before, observed, NOW + timedelta(seconds=seconds))
    if step:
        assert TRANSITIONS[before.phase, step.what] is step.state.phase
        assert step.state.generation == before.generation + 1
    if before.finished:
        assert step is None


@given(states, observations, st.integers(-600, 600))
def test_traffic_rises_only_on_a_ready_candidate_that_nobody_refused(before, observed, seconds):
    step = decide(before, observed, NOW + timedelta(seconds=seconds))
    if step and exposure(step.state) > exposure(before):
        ready = observed.challenger_ready >= observed.challenger_expected > 0
        assert ready or observed.prepared >= observed.expected > 0
        assert observed.refused is None or before.phase is Phase.SHIFTING
        assert observed.smoke is not False


@given(states)
def test_an_abort_is_possible_from_every_unfinished_state_and_leaves_the_champion_alone(before):
    if not before.finished:
        ordered = target(abort(before, "because").state)
        assert ordered.champion == before.champion
        assert ordered.challenger is None


def test_two_pauses_in_a_row_are_refused():
    steps = [{"weight": {"percent": 10}}, {"pause": {}}, {"pause": {}}, {"adopt": {}}]
    with pytest.raises(ValueError, match="pauses twice in a row"):
        ReleaseSpec.model_validate({"steps": steps})
