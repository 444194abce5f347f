import json
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.rollout.analysis import ErrorEvidence, ErrorMeter
from raypipe.rollout.decide import decide
from raypipe.rollout.evidence import Evidence, StepEvidence
from raypipe.rollout.guardrails import (
    DisagreementRate,
    ErrorRate,
    Latency,
    LatencyTotal,
    Outcome,
    Quality,
    ScoreShift,
)
from raypipe.rollout.judge import judge
from raypipe.rollout.measures import Measures, MeasuresMeter, by_arm, labelled_pairs
from raypipe.rollout.rejudge import Look, rejudge
from raypipe.rollout.spec import ReleaseSpec
from raypipe.rollout.standing import Observed
from raypipe.rollout.state import Phase, Release, Served
from raypipe.stats.betting import bounds
from raypipe.verdict import Status

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
ALL = (
    ErrorRate(),
    Latency(margin="5ms"),
    LatencyTotal(),
    ScoreShift(),
    DisagreementRate(),
    Quality(),
    Outcome(name="revenue", margin=0.1),
)


ONE_PAIR = ErrorEvidence(pairs=1)


def told(measures, errors=ONE_PAIR, replica="a", generation=3):
    return Evidence({(generation, replica): StepEvidence(errors, copied=1, measures=measures)})


def said(guardrail, measures):
    return judge(guardrail, told(measures), alpha=0.05, beta=0.05)


def scored(shift, pairs=2000, seed=1):
    random = np.random.default_rng(seed)
    meter = MeasuresMeter(ALL)
    for champion in random.uniform(0.2, 0.8, pairs):
        meter.pair(champion=champion, challenger=champion + shift + random.normal(0, 0.02))
    return meter.measures()


@pytest.mark.parametrize(
    ("shift", "status"),
    [(0.0, Status.SAFE), (0.05, Status.HARMFUL), (-0.05, Status.HARMFUL), (0.02, Status.INSUFFICIENT)],
)
def test_a_shift_of_scores_is_harm_in_either_direction(shift, status):
    found = said(ScoreShift(), scored(shift))
    assert found.status is status
    assert f"{shift:+.2f}"[:5] in found.message or status is Status.INSUFFICIENT or shift == 0


def test_each_direction_of_a_shift_has_half_of_alpha():
    measures = scored(0.03, pairs=300)
    cells, masses = measures.pairs["score_shift"].cells(low=-1.0)
    half, whole = (
        ScoreShift().cap * bounds(cells, masses, alpha_lower=alpha, alpha_upper=0.05).lower for alpha in (0.025, 0.05)
    )
    assert said(ScoreShift(margin=half - 1e-6), measures).status is Status.HARMFUL
    assert said(ScoreShift(margin=(half + whole) / 2), measures).status is Status.INSUFFICIENT


@pytest.mark.parametrize(("shift", "status"), [(0.0, Status.SAFE), (0.2, Status.HARMFUL)])
def test_models_that_decide_differently_too_often_are_told(shift, status):
    found = said(DisagreementRate(limit=0.1), scored(shift))
    assert found.status is status
    assert "the limit 0.1" in found.message


@pytest.mark.parametrize(("slower", "status"), [(0.0, Status.SAFE), (0.010, Status.HARMFUL)])
def test_a_slow_challenger_is_told_by_blocks_with_both_percentiles(slower, status):
    random = np.random.default_rng(2)
    meter = MeasuresMeter(ALL)
    for i in range(6000):
        for challenger in (False, True):
            seconds = 0.01 * math.exp(random.normal(0, 0.1)) + slower * challenger
            meter.call(unit=str(i), challenger=challenger, seconds=seconds, now_s=i * 0.1)
    found = said(Latency(margin="5ms"), meter.measures())
    assert found.status is status
    assert "against 1" in found.message
    # Replicas that see the same seconds are not as many witnesses.
    both = told(meter.measures()).merge(told(meter.measures(), replica="b"))
    assert judge(Latency(margin="5ms"), both, alpha=0.05, beta=0.05).observed == pytest.approx(found.observed)


@pytest.mark.parametrize(("worse", "status"), [(0.0, Status.SAFE), (0.3, Status.HARMFUL)])
def test_quality_is_judged_on_labelled_pairs(worse, status):
    random = np.random.default_rng(3)
    labels = (random.random(2000) < 0.5).astype(float)
    scores = 0.5 + (labels - 0.5) * 0.8
    rows = zip(scores, scores + np.where(labels == 1, -worse, worse), labels, strict=True)
    assert said(Quality(margin=0.02), labelled_pairs(Quality(margin=0.02), rows)).status is status


def revenue(difference, units=8000, seed=4, share=0.25):
    random = np.random.default_rng(seed)
    ours = random.random(units) < share
    values = random.exponential(1.0, units) + difference * ours
    guardrail = Outcome(name="revenue", margin=0.1)
    return guardrail, by_arm(guardrail, zip([share] * units, ours.tolist(), values.tolist(), strict=True))


@pytest.mark.parametrize(
    ("difference", "units", "status"),
    [
        (0.0, 8000, Status.SAFE),
        (-0.4, 8000, Status.HARMFUL),
        (0.4, 8000, Status.SAFE),
        (-0.4, 300, Status.INSUFFICIENT),
    ],
)
def test_an_outcome_is_harmed_in_its_own_direction_and_needs_its_units(difference, units, status):
    guardrail, measures = revenue(difference, units)
    assert said(guardrail, measures).status is status
    if status is Status.HARMFUL:
        assert said(guardrail.model_copy(update={"better": "lower"}), measures).status is Status.SAFE


def test_shares_are_strata_so_that_a_base_that_moves_between_them_is_no_difference():
    guardrail = Outcome(name="revenue", margin=0.1)
    random = np.random.default_rng(6)
    rows = []
    for share, base in ((0.05, 1.0), (0.5, 5.0)):
        ours = random.random(4000) < share
        rows += list(zip([share] * 4000, ours.tolist(), (base + random.normal(0, 1, 4000)).tolist(), strict=True))
    found = said(guardrail, by_arm(guardrail, rows))
    assert abs(found.observed) < 0.1
    assert found.status is not Status.HARMFUL


@pytest.mark.parametrize("guardrail", ALL, ids=lambda g: g.metric)
def test_nothing_known_is_never_safe_and_never_harmful(guardrail):
    assert judge(guardrail, Evidence(), alpha=0.05, beta=0.05).status is Status.INSUFFICIENT
    assert said(guardrail, Measures()).status is Status.INSUFFICIENT or isinstance(guardrail, ErrorRate)


def test_evidence_of_every_kind_survives_being_written_down():
    guardrail, outcome = revenue(0.0, 400)
    meter = MeasuresMeter(ALL)
    for i in range(400):
        meter.call(unit=str(i), challenger=i % 2 == 0, seconds=0.01 + i * 1e-5, now_s=i * 0.1)
    measures = scored(0.01, 50).merge(outcome).merge(meter.measures())
    evidence = told(measures, ErrorEvidence(5, 1, 95, 2, share=0.05))
    again = Evidence.from_json(json.loads(json.dumps(evidence.to_json())))
    assert again == evidence
    assert judge(guardrail, again, alpha=0.05, beta=0.05) == judge(guardrail, evidence, alpha=0.05, beta=0.05)


@given(st.permutations(range(4)))
def test_measures_merge_in_any_order(order):
    parts = [scored(0.01, 20, seed=i).merge(revenue(0.0, 20, seed=i)[1]) for i in range(4)]
    whole, other = Measures(), Measures()
    for i in range(4):
        whole, other = whole.merge(parts[i]), other.merge(parts[order[i]])
    assert whole.pairs.keys() == other.pairs.keys()
    assert whole.pairs["score_shift"].mean == pytest.approx(other.pairs["score_shift"].mean)
    ours, theirs = (m.arms["outcome revenue"][0.25].challenger for m in (whole, other))
    assert (ours.count, ours.mean) == (theirs.count, pytest.approx(theirs.mean))


def test_a_meter_has_one_share_and_shares_are_not_pooled():
    meter = ErrorMeter()
    meter.request(challenger=True, share=0.05, failed=False)
    with pytest.raises(ValueError, match=r"0.5 came after 0.05"):
        meter.request(challenger=True, share=0.5, failed=False)
    with pytest.raises(ValueError, match="not pooled"):
        ErrorEvidence(1, share=0.05).merge(ErrorEvidence(1, share=0.5))
    both = Evidence({(g, "a"): StepEvidence(ErrorEvidence(g, share=p)) for g, p in ((1, 0.05), (2, 0.5), (3, 0.05))})
    assert [(e.share, e.challenger_requests) for e in both.errors()] == [(0.05, 4), (0.5, 2)]


def spec(*guardrails, **rest):
    return ReleaseSpec.model_validate(
        {
            "steps": [{"shadow": {"min_pairs": 1}}, {"weight": {"percent": 10, "min_requests": 1}}, {"adopt": {}}],
            "guardrails": list(guardrails),
            **rest,
        }
    )


SHIFT, ERRORS, LATE = {"metric": "score_shift"}, {"metric": "error_rate"}, {"metric": "quality"}


def state(rules, evidence, phase=Phase.SHADOWING, step=0):
    return Release(phase, 3, Served("2", "b"), Served("1", "a"), AT, "", "m-1", rules, step, 3, evidence)


def seen():
    return Observed(1, 1, 1, challenger_expected=1, challenger_ready=1)


def test_a_step_waits_for_what_it_needs_and_success_for_the_rest():
    calm = told(scored(0.0), ErrorEvidence(pairs=2000))
    assert decide(state(spec(SHIFT), calm), seen(), AT).what == "shift"
    # Labels are not here yet: the steps go on without them, success does not.
    waiting = spec(SHIFT, LATE)
    assert decide(state(waiting, calm), seen(), AT).what == "shift"
    adopted = state(waiting, calm, Phase.ADOPTING, 2)
    assert decide(adopted, seen(), AT) is None
    late = decide(adopted, seen(), AT + timedelta(hours=1))
    assert late.what == "abort"
    assert "quality: 0 units" in late.why
    labelled = labelled_pairs(Quality(), [(0.9, 0.9, 1.0)] * 2000)
    done = told(scored(0.0).merge(labelled), ErrorEvidence(pairs=2000))
    assert decide(state(waiting, done, Phase.ADOPTING, 2), seen(), AT).what == "succeed"


def test_harm_found_by_a_guardrail_that_success_needs_aborts_a_step():
    bad = labelled_pairs(Quality(), [(0.9, 0.1, 1.0)] * 200)
    found = decide(state(spec(SHIFT, LATE), told(bad)), seen(), AT)
    assert found.what == "abort"
    assert "quality" in found.why


def test_alpha_is_shared_by_all_that_decide_those_that_wait_for_labels_included():
    assert spec(SHIFT, ERRORS, LATE, {"metric": "latency_total"}).alpha_share == pytest.approx(0.05 / 3)


def test_recorded_evidence_is_judged_under_another_spec_and_says_when_it_would_have_ended():
    looks = [Look(AT + timedelta(seconds=n), told(scored(0.03, n))) for n in (10, 50, 400, 2000)]
    own = spec(ERRORS, {"metric": "score_shift", "margin": 0.05})
    (_, lax), (_, strict) = (rejudge(s, looks, counted_under=own) for s in (own, spec(ERRORS, SHIFT)))
    assert (lax.finding.status, lax.harmful_at, lax.safe_at) == (Status.SAFE, None, AT + timedelta(seconds=50))
    assert strict.finding.status is Status.HARMFUL
    assert AT < strict.harmful_at < AT + timedelta(seconds=2001)
    assert rejudge(own, looks[::-1], counted_under=own)[1].finding == lax.finding


def test_what_was_not_counted_cannot_be_judged_again():
    looks = [Look(AT, told(scored(0.03)))]
    other_cap = spec(ERRORS, {"metric": "score_shift", "cap": 0.5})
    (_, other) = rejudge(other_cap, looks, counted_under=spec(ERRORS, SHIFT))
    assert (other.finding.status, other.harmful_at) == (Status.INSUFFICIENT, None)
    assert "counted it with 0.2, and 0.5 is asked for" in other.finding.message
    (_, never) = rejudge(spec(ERRORS, SHIFT), looks, counted_under=spec(ERRORS))
    assert "not at all" in never.finding.message


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"guardrails": [ERRORS, SHIFT], "steps": [{"weight": {"percent": 10}}, {"adopt": {}}]}, "no step makes any"),
        ({"guardrails": [ERRORS, ERRORS]}, "error_rate twice"),
        ({"guardrails": [LATE]}, "nothing judges"),
        ({"guardrails": [{"metric": "score_shift", "margin": 0.3}]}, "never be passed"),
        (
            {
                "guardrails": [ERRORS, {"metric": "outcome", "name": "x", "margin": 1}],
                "steps": [{"shadow": {}}, {"adopt": {}}],
            },
            "it answers none",
        ),
        ({"guardrails": [{"metric": "latency", "block": "2s"}]}, "greater than or equal to 10 seconds"),
    ],
)
def test_guardrails_that_make_no_sense_are_refused_with_a_reason(rules, words):
    steps = [{"shadow": {}}, {"weight": {"percent": 10}}, {"adopt": {}}]
    with pytest.raises(ValueError, match=words):
        ReleaseSpec.model_validate({"steps": steps, **rules})
