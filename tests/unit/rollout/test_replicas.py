"""A user who comes again through another replica is no second witness."""

from datetime import UTC, datetime

import numpy as np
import pytest

from raypipe.rollout.analysis import ErrorEvidence, ErrorMeter, judge_error_rate
from raypipe.rollout.evidence import Evidence, StepEvidence
from raypipe.rollout.spec import ReleaseSpec
from raypipe.rollout.standing import judgements
from raypipe.rollout.state import Phase, Release, Served
from raypipe.verdict import Status

MARGIN, SHARE, REPLICAS, ROLLOUTS, USERS = 0.01, 0.1, 8, 120, 4000


def seen_by_all(random):
    """Return the evidence of users that every replica has seen; the challenger fails a hundredth of them, always."""
    challenger = random.random(USERS) < SHARE
    fails = challenger & (random.random(USERS) < MARGIN)
    meter = ErrorMeter()
    for ours, failed in zip(challenger.tolist(), fails.tolist(), strict=True):
        meter.request(challenger=ours, share=SHARE, failed=failed)
    return Evidence({(3, f"r{i}"): StepEvidence(meter.evidence()) for i in range(REPLICAS)})


def judged(evidence, unit):
    spec = ReleaseSpec.model_validate(
        {
            "steps": [{"weight": {"percent": 10}}, {"adopt": {}}],
            "unit": unit,
            "guardrails": [{"metric": "error_rate", "margin": MARGIN}],
        }
    )
    at = datetime(2026, 1, 1, tzinfo=UTC)
    state = Release(Phase.SHIFTING, 3, Served("2", "b"), Served("1", "a"), at, "", "m-1", spec, 0, 3, evidence)
    ((_, finding),) = judgements(state)
    return finding.status


def test_at_the_margin_a_harm_is_called_safe_no_more_often_for_having_been_counted_by_every_replica():
    random = np.random.default_rng(4)
    rollouts = [seen_by_all(random) for _ in range(ROLLOUTS)]
    users = [judged(e, {"header": "x-user-id"}) for e in rollouts]
    naive = [judged(e, {}) for e in rollouts]
    # beta is .05; of 120 at most 11 with a chance of .98.
    assert sum(s is Status.SAFE for s in users) <= 11
    assert sum(s is Status.HARMFUL for s in users) <= 11
    assert sum(s is Status.SAFE for s in naive) > 11, "counting users eight times was harmless after all"


def test_evidence_of_copies_is_judged_as_that_of_one():
    meter = ErrorMeter()
    for i in range(400):
        meter.request(challenger=i % 2 == 0, share=0.5, failed=i % 40 == 0)
    once = meter.evidence()
    thrice = once.merge(once).merge(once)
    one, three = (
        judge_error_rate([e], margin=0.2, alpha=0.05, beta=0.05, processes=n) for e, n in ((once, 1), (thrice, 3))
    )
    assert (one.status, one.observed) == (three.status, pytest.approx(three.observed))
    assert three.message.endswith(one.message.partition("; ")[2])


def test_a_replica_that_counted_nothing_is_no_process():
    parts = {
        (3, "a"): StepEvidence(ErrorEvidence(1)),
        (4, "a"): StepEvidence(ErrorEvidence(2)),
        (4, "b"): StepEvidence(),
    }
    assert Evidence(parts).processes == 1
