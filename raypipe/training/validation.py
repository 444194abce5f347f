"""The judgement on a trained model against the limits of the user's file. Knows numbers, not where they came from."""

from __future__ import annotations

import math
from collections.abc import Mapping

from raypipe.training.spec import Limit, ValidationSpec
from raypipe.verdict import Finding, Status, Verdict, worst


def judge(metrics: Mapping[str, float | None], spec: ValidationSpec) -> Verdict:
    """Return PASSED when every limit holds, FAILED when one does not, INSUFFICIENT when a metric is not known.

    Parameters
    ----------
    metrics
        By name; None, NaN and absent all mean that nothing is known.
    """
    return worst(_judge_one(name, metrics.get(name), limit) for name, limit in spec.absolute.items())


def _judge_one(name: str, observed: float | None, limit: Limit) -> Finding:
    bound = f"at {'least' if limit.operator == '>=' else 'most'} {limit.value:g} is required"
    if observed is None or math.isnan(observed):
        message = (
            f"{name} is not known and {bound}: give validation more labelled rows of both classes, "
            f"or correct the name in `validation.absolute`"
        )
        return Finding(name, Status.INSUFFICIENT, message, None, limit.value)
    if limit.holds(observed):
        return Finding(name, Status.PASSED, f"{name} is {observed:.4g}, {bound}", observed, limit.value)
    message = (
        f"{name} is {observed:.4g}, {bound}: look for drift in the validation period, add features or rows, "
        f"or change the limit in `validation.absolute`"
    )
    return Finding(name, Status.FAILED, message, observed, limit.value)
