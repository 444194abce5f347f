"""What must not get worse in a rollout: one spec for each thing that can be judged.

A `margin` is a difference of the arms, a `limit` an absolute rate. Knows what the user may write and on what evidence
each guardrail rests; `rollout.judge` judges.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, assert_never

from pydantic import Field, model_validator

from raypipe.spec import Duration, Spec


class Guarding(Spec):
    """What every guardrail says beside its margin."""

    needed_for: Literal["step", "success"] = "step"
    """`step`: SAFE before each step is passed. `success`: before the rollout succeeds; till then only its harm acts."""
    dry_run: bool = False
    """Record the judgement and never decide on it."""


class ErrorRate(Guarding):
    """The share of requests whose assigned arm failed, challenger minus champion."""

    metric: Literal["error_rate"] = "error_rate"
    margin: float = Field(default=0.01, gt=0, lt=1)
    """Difference of the arms, 0..1, beyond which the challenger is harmful and below which it is safe."""


class Latency(Guarding):
    """How many of the challenger's calls are slower than the champion's 95th percentile plus the margin: at most 5 %.

    Time inside the model only, at the batch size that it had, compared within blocks of time.
    """

    metric: Literal["latency"] = "latency"
    margin: Duration = timedelta(milliseconds=10)
    """What the challenger may take longer."""
    block: Duration = Field(default=timedelta(seconds=10), ge=timedelta(seconds=10))
    """Calls within such a time count as one observation: those that wait for the same thing are slow together."""


class LatencyTotal(Guarding):
    """The same with the way to the challenger and back, which the champion does not have."""

    metric: Literal["latency_total"] = "latency_total"
    margin: Duration = timedelta(milliseconds=10)
    """What the challenger may take longer."""
    block: Duration = Field(default=timedelta(seconds=10), ge=timedelta(seconds=10))
    """Calls within such a time count as one observation."""
    dry_run: bool = True
    """Record the judgement and never decide on it: the hop is no fault of the challenger's."""


class ScoreShift(Guarding):
    """The mean difference of the scores on shadow pairs, in either direction."""

    metric: Literal["score_shift"] = "score_shift"
    margin: float = Field(default=0.02, gt=0, lt=1)
    """Mean difference, as an amount, beyond which the challenger is harmful and below which it is safe."""
    cap: float = Field(default=0.2, gt=0, le=1)
    """What a single difference counts at most. The smaller, the sooner a shift is told from chance."""

    @model_validator(mode="after")
    def _capped_above_the_margin(self) -> ScoreShift:
        if self.margin >= self.cap:
            raise ValueError(f"the margin {self.margin:g} can never be passed by differences capped at {self.cap:g}")
        return self


class DisagreementRate(Guarding):
    """The share of shadow pairs on which the models decide differently."""

    metric: Literal["disagreement_rate"] = "disagreement_rate"
    limit: float = Field(default=0.05, gt=0, lt=1)
    """Share of pairs, 0..1."""
    threshold: float = Field(default=0.5, ge=0, le=1)
    """Scores of at least this are a yes."""


class Quality(Guarding):
    """The loss against labels that have matured, challenger minus champion."""

    metric: Literal["quality"] = "quality"
    loss: Literal["brier", "error"] = "brier"
    """`brier`: squared distance of score and label. `error`: 1 where the score is on the wrong side of 0.5."""
    margin: float = Field(default=0.01, gt=0, lt=1)
    """Difference of the mean losses beyond which the challenger is harmful and below which it is safe."""
    needed_for: Literal["step", "success"] = "success"
    """`success`, since labels come late."""


class Outcome(Guarding):
    """A number that the application posts, summed for each unit for a while after it was first assigned."""

    metric: Literal["outcome"] = "outcome"
    name: str = Field(min_length=1)
    """What the application calls it, such as `revenue`."""
    better: Literal["higher", "lower"] = "higher"
    """Which direction is good."""
    margin: float = Field(gt=0)
    """Difference of the arms' means for each unit, in the outcome's own units, that is harmful."""
    within: Duration = timedelta(hours=1)
    """How long a unit's numbers are summed; only then is it an observation."""
    min_units: int = Field(default=200, ge=50)
    """Units of each arm below which nothing is said: the method holds for large samples."""
    needed_for: Literal["step", "success"] = "success"
    """`success`, since units need their time."""


Guardrail = Annotated[
    ErrorRate | Latency | LatencyTotal | ScoreShift | DisagreementRate | Quality | Outcome,
    Field(discriminator="metric"),
]


def key_of(guardrail: Guardrail) -> str:
    """Return the name under which evidence for it is counted; two guardrails of one rollout never share it.

    Examples
    --------
    >>> key_of(ErrorRate()), key_of(Outcome(name="revenue", margin=1.0))
    ('error_rate', 'outcome revenue')
    """
    return f"outcome {guardrail.name}" if isinstance(guardrail, Outcome) else guardrail.metric


def needs_pairs(guardrail: Guardrail) -> bool:
    """Return whether it can only be judged on shadow pairs."""
    return isinstance(guardrail, ScoreShift | DisagreementRate)


def counted_as(guardrail: Guardrail) -> tuple[object, ...]:
    """Return what its evidence was counted with: evidence can be judged again with anything else than this changed.

    Examples
    --------
    >>> counted_as(ScoreShift(margin=0.01)) == counted_as(ScoreShift(margin=0.05))
    True
    >>> counted_as(ScoreShift(cap=0.1)) == counted_as(ScoreShift(cap=0.2))
    False
    """
    match guardrail:
        case ErrorRate():
            return ()
        case Latency() | LatencyTotal():
            return guardrail.margin, guardrail.block
        case ScoreShift():
            return (guardrail.cap,)
        case DisagreementRate():
            return (guardrail.threshold,)
        case Quality():
            return (guardrail.loss,)
        case Outcome():
            return guardrail.name, guardrail.within
        case _:
            assert_never(guardrail)
