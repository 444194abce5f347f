"""What the user's file says about training and validation. Does not know how either is done."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer

from raypipe.spec import Spec

_LIMIT = re.compile(r"^(>=|<=)\s*(-?\d+(?:\.\d+)?)$")
_PERCENT = re.compile(r"^(\d+(?:\.\d+)?)\s*%$")
_ENTRYPOINT = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"


class Limit(Spec):
    """A number that a metric may not cross."""

    operator: Literal[">=", "<="]
    value: float

    def __str__(self) -> str:
        return f"{self.operator} {self.value:g}"

    def holds(self, observed: float) -> bool:
        """Return whether `observed` is on the right side; NaN never is."""
        return observed >= self.value if self.operator == ">=" else observed <= self.value


def parse_limit(value: object) -> object:
    """Return the limit written as `>= 0.65` or `<= 0.65`.

    Raises
    ------
    ValueError
        When the text is not such a comparison.

    Examples
    --------
    >>> parse_limit("<= 0.65").holds(0.7)
    False
    """
    if not isinstance(value, str):
        return value
    match = _LIMIT.match(value.strip())
    if not match:
        raise ValueError(f'{value!r} is not a limit: write it as ">= 0.65" or "<= 0.65"')
    return Limit.model_validate({"operator": match[1], "value": float(match[2])})


def parse_rate(value: object) -> object:
    """Return the share (0..1) written as `15%` or `0.15`.

    Raises
    ------
    ValueError
        When the text is not a percentage.

    Examples
    --------
    >>> parse_rate("15%")
    0.15
    """
    if not isinstance(value, str):
        return value
    match = _PERCENT.match(value.strip())
    if not match:
        raise ValueError(f"{value!r} is not a share: write it as 15%")
    return float(match[1]) / 100


LimitText = Annotated[Limit, BeforeValidator(parse_limit), PlainSerializer(str, return_type=str)]
Rate = Annotated[float, BeforeValidator(parse_rate), Field(gt=0, lt=1)]


class TabularMlp(Spec):
    """A perceptron over the transformed columns."""

    kind: Literal["tabular_mlp"] = "tabular_mlp"
    width: int = Field(default=64, ge=1)
    """Units of each hidden layer."""
    depth: int = Field(default=2, ge=0)
    """Hidden layers; 0 is logistic regression."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of hidden units silenced in training."""
    learning_rate: float = Field(default=0.002, gt=0)
    """Highest rate of the schedule."""
    epochs: int = Field(default=8, ge=1)
    """Passes over the training rows."""
    batch_size: int = Field(default=1024, ge=1)
    """Rows of one step, over all workers."""


class Entrypoint(Spec):
    """The user's own torch module, whose source travels with the bundle."""

    kind: Literal["entrypoint"]
    entrypoint: str = Field(pattern=_ENTRYPOINT)
    """`package.module:function`; the function is called as `build(inputs, **parameters)`."""
    parameters: dict[str, bool | int | float | str] = {}
    """Keyword arguments of the function."""
    learning_rate: float = Field(default=0.002, gt=0)
    """Highest rate of the schedule."""
    epochs: int = Field(default=8, ge=1)
    """Passes over the training rows."""
    batch_size: int = Field(default=1024, ge=1)
    """Rows of one step, over all workers."""


ModelSpec = Annotated[TabularMlp | Entrypoint, Field(discriminator="kind")]


class TimeSplit(Spec):
    """The last examples by prediction time validate, the earlier ones train."""

    kind: Literal["time"] = "time"
    validation: Rate = 0.15
    """Share of the labelled examples that validate, 0..1 or as `15%`."""


class Workers(Spec):
    """The training processes."""

    num: int = Field(default=1, ge=1)
    """How many; their gradients are averaged."""
    cpus_per_worker: float = Field(default=1, ge=0)
    gpus_per_worker: float = Field(default=0, ge=0)


class TrainingSpec(Spec):
    """How a model is trained."""

    model: ModelSpec
    split: TimeSplit = TimeSplit()
    workers: Workers = Workers()
    seed: int = 7
    """Of initial weights, dropout and the order of rows."""


class VersusChampion(Spec):
    """The comparison with the champion, scored again on the candidate's validation rows."""

    metric: Literal["auc", "log_loss", "brier", "f1"] = "auc"
    margin: float = Field(default=0.005, ge=0)
    """By how much the candidate may be worse and still take over."""
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Of the difference's two-sided interval."""


class SliceSpec(Spec):
    """Parts of the validation rows in which the candidate must not be much worse than the champion."""

    columns: tuple[str, ...] = Field(min_length=1)
    """Each value of each of them is a slice."""
    min_rows: int = Field(default=500, ge=1)
    """Smaller slices are recorded and not judged."""
    max_drop: float = Field(default=0.03, ge=0)
    """By how much a slice may be worse, in the metric of `versus_champion`."""
    severity: Literal["warn", "fail"] = "warn"
    """What a worse slice does."""


class ValidationSpec(Spec):
    """What a trained model must reach on the validation rows before it may be released."""

    absolute: dict[str, LimitText] = Field(min_length=1)
    """Limits by metric: `auc`, `log_loss`, `brier`, `f1`."""
    versus_champion: VersusChampion | None = VersusChampion()
    """Comparison with the champion; `null` leaves it out."""
    slices: SliceSpec | None = None
    """Parts of the rows that are compared by themselves."""
