"""No metric that is not known, and none on the wrong side of its limit, lets a model pass."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from raypipe.training.spec import ValidationSpec
from raypipe.training.validation import judge
from raypipe.verdict import Status

SPEC = ValidationSpec.model_validate({"absolute": {"auc": ">= 0.65", "log_loss": "<= 0.65"}})


def test_a_model_within_every_limit_passes() -> None:
    assert judge({"auc": 0.65, "log_loss": 0.65}, SPEC).status is Status.PASSED


def test_a_model_beyond_a_limit_fails_with_both_numbers_and_the_next_action() -> None:
    verdict = judge({"auc": 0.6123, "log_loss": 0.5}, SPEC)
    assert verdict.status is Status.FAILED
    assert "auc is 0.6123, at least 0.65 is required" in verdict.sentence()
    assert "`validation.absolute`" in verdict.sentence()
    assert (verdict.findings[0].observed, verdict.findings[0].limit) == (0.6123, 0.65)


@pytest.mark.parametrize("unknown", [{}, {"auc": None}, {"auc": math.nan}])
def test_a_metric_that_is_not_known_is_insufficient(unknown: dict[str, float | None]) -> None:
    assert judge({"log_loss": 0.5, **unknown}, SPEC).status is Status.INSUFFICIENT


def test_failure_outranks_absence() -> None:
    assert judge({"log_loss": 0.9}, SPEC).status is Status.FAILED


def test_a_validation_without_limits_is_refused() -> None:
    with pytest.raises(ValidationError):
        ValidationSpec(absolute={})


def test_a_limit_that_cannot_be_read_is_refused_with_an_example() -> None:
    with pytest.raises(ValidationError, match=r'write it as ">= 0.65"'):
        ValidationSpec.model_validate({"absolute": {"auc": "above 0.6"}})
