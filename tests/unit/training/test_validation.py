"""No metric that is not known, and none on the wrong side of its limit, lets a model pass."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError

from raypipe.training.spec import ValidationSpec, VersusChampion
from raypipe.training.validation import Scored, incomparable, judge, not_compared
from raypipe.verdict import Status, Verdict

NONE = not_compared("there is no champion")
SPEC = ValidationSpec.model_validate({"absolute": {"auc": ">= 0.65", "log_loss": "<= 0.65"}})


def test_a_model_within_every_limit_passes() -> None:
    assert judge({"auc": 0.65, "log_loss": 0.65}, SPEC, NONE).status is Status.PASSED


def test_a_model_beyond_a_limit_fails_with_both_numbers_and_the_next_action() -> None:
    verdict = judge({"auc": 0.6123, "log_loss": 0.5}, SPEC, NONE)
    assert verdict.status is Status.FAILED
    assert "auc is 0.6123, at least 0.65 is required" in verdict.sentence()
    assert "`validation.absolute`" in verdict.sentence()
    assert (verdict.findings[0].observed, verdict.findings[0].limit) == (0.6123, 0.65)


@pytest.mark.parametrize("unknown", [{}, {"auc": None}, {"auc": math.nan}])
def test_a_metric_that_is_not_known_is_insufficient(unknown: dict[str, float | None]) -> None:
    assert judge({"log_loss": 0.5, **unknown}, SPEC, NONE).status is Status.INSUFFICIENT


def test_failure_outranks_absence() -> None:
    assert judge({"log_loss": 0.9}, SPEC, NONE).status is Status.FAILED


def test_a_validation_without_limits_is_refused() -> None:
    with pytest.raises(ValidationError):
        ValidationSpec(absolute={})


def test_a_limit_that_cannot_be_read_is_refused_with_an_example() -> None:
    with pytest.raises(ValidationError, match=r'write it as ">= 0.65"'):
        ValidationSpec.model_validate({"absolute": {"auc": "above 0.6"}})


VERSUS = ValidationSpec.model_validate(
    {
        "absolute": {"auc": ">= 0.5"},
        "versus_champion": {"metric": "auc", "margin": 0.01},
        "slices": {"columns": ["town"], "min_rows": 200, "max_drop": 0.05, "severity": "fail"},
    }
)


def scored(noise: float, champion_noise: float, rows: int = 4000, spoilt: str = "") -> Scored:
    """Two models that see the truth through noise of their own; the candidate is blind in one town."""
    random = np.random.default_rng(1)
    truth = random.normal(size=rows)
    labels = (truth > 0.5).astype(float)
    town = random.choice(["north", "south", "tiny"], rows, p=[0.6, 0.38, 0.02]).astype(object)
    ours, theirs = (1 / (1 + np.exp(-truth - s * random.normal(size=rows))) for s in (noise, champion_noise))
    ours = np.where(town == spoilt, random.random(rows), ours)
    return Scored("3", labels, ours, theirs, (0.5, 0.5), {"town": town})


def by_rule(verdict: Verdict) -> dict[str, Status]:
    return {f.rule: f.status for f in verdict.findings}


def test_a_candidate_no_worse_than_the_champion_passes_with_both_numbers() -> None:
    verdict = judge({"auc": 0.9}, VERSUS, scored(0.5, 1.0))
    assert verdict.status is Status.PASSED
    message = next(f.message for f in verdict.findings if "versus" in f.rule)
    assert "version 3 has 0." in message
    assert "on the same 4,000 rows" in message


def test_a_clearly_worse_candidate_fails_though_its_limits_hold() -> None:
    verdict = judge({"auc": 0.9}, VERSUS, scored(2.0, 0.5))
    assert verdict.status is Status.FAILED
    assert "worse than the margin 0.01" in verdict.sentence()


def test_rows_that_cannot_tell_are_no_pass() -> None:
    assert judge({"auc": 0.9}, VERSUS, scored(1.0, 1.0, rows=300)).status is Status.INSUFFICIENT


def test_without_a_champion_the_limits_alone_decide_and_a_champion_that_cannot_be_scored_decides_against() -> None:
    assert judge({"auc": 0.9}, VERSUS, NONE).status is Status.PASSED
    assert by_rule(judge({"auc": 0.9}, VERSUS, NONE))["versus_champion"] is Status.NOT_APPLICABLE
    assert judge({"auc": 0.9}, VERSUS, incomparable("other columns")).status is Status.INSUFFICIENT


@pytest.mark.parametrize(("severity", "status"), [("fail", Status.FAILED), ("warn", Status.WARNED)])
def test_a_slice_that_got_much_worse_is_found_by_name(severity: str, status: Status) -> None:
    spec = VERSUS.model_copy(update={"slices": VERSUS.slices.model_copy(update={"severity": severity})})
    found = by_rule(judge({"auc": 0.9}, spec, scored(0.3, 1.5, spoilt="south")))
    assert found["auc[town=south]"] is status
    assert found["auc[town=north]"] is Status.PASSED
    assert found["auc[town=tiny]"] is Status.NOT_APPLICABLE


def test_a_metric_of_which_less_is_better_is_compared_the_right_way_round() -> None:
    spec = VERSUS.model_copy(update={"versus_champion": VersusChampion(metric="log_loss"), "slices": None})
    assert judge({"auc": 0.9}, spec, scored(0.3, 2.0)).status is Status.PASSED
    assert judge({"auc": 0.9}, spec, scored(2.0, 0.3)).status is Status.FAILED
