"""What the user's file says about releasing a candidate. Does not know how traffic is moved."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Literal

from pydantic import Field, model_validator

from raypipe.rollout.guardrails import ErrorRate, Guardrail, Outcome, key_of, needs_pairs
from raypipe.spec import Duration, Spec

_HOUR = timedelta(hours=1)


class ShadowStep(Spec):
    """Copies of requests go to the challenger, both answers are recorded, and no user sees its own."""

    percent: float = Field(default=100, gt=0, le=100)
    """Share of the units whose requests are copied."""
    min_pairs: int = Field(default=500, ge=1)
    """Requests that both models must have been asked in this step, a unit's later ones too."""
    deadline: Duration = _HOUR
    """When waiting for that ends."""


class WeightStep(Spec):
    """The challenger answers a share of the requests."""

    percent: float = Field(gt=0, le=50)
    """Share of the units that are assigned to it; beyond 50 it is adopted instead."""
    min_requests: int = Field(default=500, ge=1)
    """Requests that must have been assigned to the challenger in this step, a unit's later ones too."""
    deadline: Duration = _HOUR
    """When waiting for that ends."""


class PauseStep(Spec):
    """A person must resume."""


class AdoptStep(Spec):
    """The candidate becomes the champion in every gateway replica."""


class StepSpec(Spec):
    """One step of a rollout: exactly one of its keys."""

    shadow: ShadowStep | None = None
    weight: WeightStep | None = None
    pause: PauseStep | None = None
    adopt: AdoptStep | None = None

    @model_validator(mode="after")
    def _one(self) -> StepSpec:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"a step is one of shadow, weight, pause, adopt, and this one has {', '.join(given) or 'none'}: write "
                "it as {weight: {percent: 10}} or {adopt: {}}"
            )
        return self

    @property
    def kind(self) -> ShadowStep | WeightStep | PauseStep | AdoptStep:
        """The one that is given."""
        found = self.shadow or self.weight or self.pause or self.adopt
        assert found is not None
        return found


class Unit(Spec):
    """What is kept on one arm: all requests with the same value of a header or of a request field."""

    header: str | None = None
    """Name of a request header, such as `x-user-id`."""
    field: str | None = None
    """Name of a column of the request."""

    @model_validator(mode="after")
    def _not_both(self) -> Unit:
        if self.header and self.field:
            raise ValueError(f"the unit is a header or a field: keep `header: {self.header}` or `field: {self.field}`")
        return self


class ChallengerSpec(Spec):
    """Where the challenger runs: an application of its own."""

    replicas: int = Field(default=1, ge=1)
    cpus_per_replica: float = Field(default=0.5, gt=0)
    """Logical CPUs that Ray reserves for a challenger replica."""
    timeout: Duration = timedelta(seconds=1)
    """How long a request waits for it before the champion answers."""
    lease: Duration = timedelta(seconds=30)
    """A gateway that is not asked for evidence for so long lets the champion answer everything."""
    unhealthy: Duration = timedelta(seconds=20)
    """The rollout is aborted when the challenger's circuit was open for so long."""


class ReleaseSpec(Spec):
    """How a candidate takes over."""

    replicas: int = Field(default=1, ge=1)
    """Gateway replicas, each with the champion in its own process."""
    cpus_per_replica: float = Field(default=0.5, gt=0)
    """Logical CPUs that Ray reserves for a gateway replica."""
    deadline: Duration = timedelta(minutes=5)
    """How long the candidate may take to be loaded and to pass its smoke test in every replica."""
    steps: tuple[StepSpec, ...] = (StepSpec(adopt=AdoptStep()),)
    """What a candidate goes through when there is a champion; with `adopt` alone it takes over at once (blue-green)."""
    unit: Unit = Unit()
    """What is kept on one arm; without it, and for requests that lack it, each request by itself."""
    guardrails: tuple[Guardrail, ...] = (ErrorRate(),)
    """What must not get worse; each at most once."""
    alpha: float = Field(default=0.05, gt=0, lt=1)
    """Probability of a false abort over the whole rollout, however often one looks; shared by the guardrails."""
    beta: float = Field(default=0.05, gt=0, lt=1)
    """Probability of calling a harm beyond the margin safe."""
    on_deadline: Literal["abort", "pause", "advance_if_not_harmful"] = "abort"
    """What a step does that is not passed at its deadline; the last only when its minimum is reached."""
    side_effects: bool = False
    """Whether scoring a request does something in the world, so that it must not be copied."""
    challenger: ChallengerSpec = ChallengerSpec()

    @model_validator(mode="after")
    def _ordered(self) -> ReleaseSpec:
        if [s.adopt is not None for s in self.steps] != [False] * (len(self.steps) - 1) + [True]:
            raise ValueError("`steps` ends with {adopt: {}}, and has it nowhere else: put it last")
        weights = [s.weight.percent for s in self.steps if s.weight]
        if weights != sorted(weights):
            raise ValueError(f"the weights go {', '.join(f'{w:g}' for w in weights)}: let them rise, an abort lowers")
        if any(a.pause is not None and b.pause is not None for a, b in pairwise(self.steps)):
            raise ValueError("`steps` pauses twice in a row: keep one {pause: {}}, a person resumes it once")
        if self.side_effects and any(s.shadow for s in self.steps):
            raise ValueError("`side_effects: true` forbids shadow steps, which would repeat the effects: remove them")
        deciding = [g for g in self.guardrails if g.needed_for == "step" and not g.dry_run]
        if any(s.shadow or s.weight for s in self.steps) and not deciding:
            raise ValueError(
                "nothing judges the challenger in its steps: let a guardrail decide (without `dry_run: true`, and with "
                "`needed_for: step`)"
            )
        self._check_guardrails()
        return self

    def _check_guardrails(self) -> None:
        keys = [key_of(g) for g in self.guardrails]
        if twice := sorted({k for k in keys if keys.count(k) > 1}):
            raise ValueError(f"`guardrails` has {twice[0]} twice: keep the one with the margin that is meant")
        if not self.challenges:
            return
        if not any(s.shadow for s in self.steps):
            for guardrail in filter(needs_pairs, self.guardrails):
                raise ValueError(
                    f"{guardrail.metric} is judged on shadow pairs, and no step makes any: add `shadow: {{}}` to the "
                    "steps, or remove the guardrail"
                )
        if not any(s.weight for s in self.steps):
            for outcome in (g for g in self.guardrails if isinstance(g, Outcome)):
                raise ValueError(
                    f"the outcome {outcome.name} tells of users whom the challenger answered, and it answers none: "
                    "add `weight: {percent: 10}` to the steps, or remove the guardrail"
                )

    @property
    def alpha_share(self) -> float:
        """A guardrail's part of `alpha`: equal for all that decide, those that wait for labels included."""
        deciding = sum(not g.dry_run for g in self.guardrails)
        return self.alpha / max(1, deciding)

    @property
    def challenges(self) -> bool:
        """Whether the candidate runs as a challenger before it is adopted: also for a pause, in which people try it."""
        return len(self.steps) > 1
