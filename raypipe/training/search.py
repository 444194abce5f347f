"""Hyperparameters to try: a space in the user's file, and who proposes from it. Knows specs; trains nothing.

Random trials are known beforehand, by number: run again after a kill, trial 3 is the same trial 3. Of those that Optuna
proposes only the numbers are.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.util import find_spec
from typing import Literal

from pydantic import Field, model_validator

from raypipe.errors import ConfigError
from raypipe.spec import Duration, Spec
from raypipe.training.spec import ModelSpec, Rate

Value = bool | int | float | str
# A metric of which less is better.
_LOWER_IS_BETTER = ("log_loss", "brier")


class Draw(Spec):
    """How one hyperparameter is drawn: exactly one of the keys."""

    choice: tuple[Value, ...] | None = Field(default=None, min_length=1)
    """One of these, all equally likely."""
    uniform: tuple[float, float] | None = None
    """A number between two."""
    log_uniform: tuple[float, float] | None = None
    """A number between two above zero, its logarithm equally likely everywhere."""
    int_uniform: tuple[int, int] | None = None
    """A whole number between two, both included."""

    @model_validator(mode="after")
    def _one(self) -> Draw:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give one of choice, uniform, log_uniform, int_uniform, as in {uniform: [0.0, 0.3]}")
        bounds = self.uniform or self.log_uniform or self.int_uniform
        if bounds and not bounds[0] < bounds[1]:
            raise ValueError(f"{bounds[0]:g} is not below {bounds[1]:g}: give the lower bound first")
        if self.log_uniform and self.log_uniform[0] <= 0:
            raise ValueError(f"log_uniform needs bounds above zero, and the lower one is {self.log_uniform[0]:g}")
        return self

    @property
    def ends(self) -> tuple[Value, ...]:
        """Every choice, or both bounds."""
        return self.choice or self.uniform or self.log_uniform or self.int_uniform or ()

    def draw(self, source: random.Random) -> Value:
        """Return one value."""
        if self.choice:
            return source.choice(self.choice)
        if self.uniform:
            return source.uniform(*self.uniform)
        if self.log_uniform:
            low, high = self.log_uniform
            return math.exp(source.uniform(math.log(low), math.log(high)))
        assert self.int_uniform is not None
        return source.randint(*self.int_uniform)


class SearchSpec(Spec):
    """Which hyperparameters are tried before the candidate is trained."""

    on_retrain: Literal["reuse", "full"] = "reuse"
    """With a champion: train with its hyperparameters, or search anew."""
    space: dict[str, Draw] = Field(min_length=1)
    """By field of `training.model`; the others stay as the file has them."""
    trials: int = Field(default=8, ge=1)
    concurrent: int = Field(default=2, ge=1)
    """Trials at the same time."""
    sampler: Literal["random", "optuna"] = "random"
    """Who proposes trials: draws from the seed, or Optuna's TPE, which learns from those before (Bergstra, 2011)."""
    scheduler: Literal["asha", "none"] = "asha"
    """Whether hopeless trials are stopped early (Li et al., MLSys 2020)."""
    metric: Literal["auc", "log_loss", "brier"] = "auc"
    """On rows that are held out of the training rows: the validation rows are for the gate alone."""
    hold_out: Rate = 0.15
    """Share of the training rows, the latest, that trials are compared on."""
    budget: Duration = timedelta(minutes=10)
    """Wall time of the whole search; what has finished by then is compared."""

    @property
    def better(self) -> Literal["max", "min"]:
        """Which way the metric is better."""
        return "min" if self.metric in _LOWER_IS_BETTER else "max"


@dataclass(frozen=True, slots=True)
class Trial:
    """One set of hyperparameters to try, by number from 1; empty until a sampler that learns has proposed it."""

    number: int
    parameters: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class TrialResult:
    """What a trial came to.

    Parameters
    ----------
    trial
        What was tried.
    outcome
        `finished`, `stopped` (hopeless), or `failed`.
    epochs
        Metrics of each epoch that it ran; of an earlier attempt's trial only the last has any.
    reason
        Why it failed.
    """

    trial: Trial
    outcome: Literal["finished", "stopped", "failed"]
    epochs: tuple[Mapping[str, float], ...] = field(default=())
    reason: str = ""

    def score(self, metric: str) -> float | None:
        """Return the metric after the last epoch; None where there is none."""
        return self.epochs[-1].get(metric) if self.epochs else None


def trials_of(spec: SearchSpec, seed: int) -> tuple[Trial, ...]:
    """Return every trial of the search; the same spec and seed give the same.

    With `optuna` they have no parameters yet: they are proposed while the search runs.
    """
    if spec.sampler == "optuna":
        return tuple(Trial(number, {}) for number in range(1, spec.trials + 1))
    source = random.Random(seed)
    return tuple(
        Trial(number, {name: draw.draw(source) for name, draw in sorted(spec.space.items())})
        for number in range(1, spec.trials + 1)
    )


def possible_of(spec: SearchSpec, seed: int) -> tuple[Trial, ...]:
    """Return trials that stand for all that may be tried: every draw, or for `optuna` the ends of the space.

    At an end one hyperparameter has a bound or one of its choices, and each other its first: corners are too many.
    """
    if spec.sampler == "random":
        return trials_of(spec, seed)
    first = {name: draw.ends[0] for name, draw in sorted(spec.space.items())}
    ends = [first | {name: end} for name, draw in sorted(spec.space.items()) for end in draw.ends]
    return tuple(Trial(number, parameters) for number, parameters in enumerate(ends, start=1))


def require_sampler(spec: SearchSpec) -> None:
    """Return when the search's sampler is installed.

    Raises
    ------
    ConfigError
        When it is not.
    """
    if spec.sampler == "optuna" and find_spec("optuna") is None:
        raise ConfigError(
            "`search.sampler` is optuna, and there is no package `optuna` here: run `pip install 'raypipe[optuna]'`, "
            "or set `search.sampler: random`",
            key="search.sampler",
        )


def with_parameters(model: ModelSpec, parameters: Mapping[str, Value]) -> ModelSpec:
    """Return the model with these fields, checked.

    Raises
    ------
    ConfigError
        When the model has no such field, or not such values.
    """
    unknown = sorted(set(parameters) - set(type(model).model_fields) - {"kind"})
    if unknown:
        raise ConfigError(
            f"`search.space` names {', '.join(unknown)}, and `training.model` of kind {model.kind} has "
            f"{', '.join(sorted(set(type(model).model_fields) - {'kind'}))}: correct the name",
            key=f"search.space.{unknown[0]}",
        )
    try:
        found: ModelSpec = type(model).model_validate(model.model_dump() | dict(parameters))
    except ValueError as error:
        first = str(error).splitlines()
        raise ConfigError(
            f"`search.space` gives {dict(parameters)}: {' '.join(first[1:3])}", key="search.space"
        ) from error
    return found


def best_of(results: Sequence[TrialResult], spec: SearchSpec) -> TrialResult | None:
    """Return the best finished trial, the first among equals; None when none has finished with a number."""
    scored = ((r, r.score(spec.metric)) for r in results if r.outcome == "finished")
    finished = [(r, s) for r, s in scored if s is not None and math.isfinite(s)]
    if not finished:
        return None
    sign = -1 if spec.better == "max" else 1
    return min(finished, key=lambda f: (sign * f[1], f[0].trial.number))[0]
