"""Trials as Optuna proposes them while a search runs. Knows Ray Tune's door to Optuna; trains and compares nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from ray.tune.search.optuna import OptunaSearch

from raypipe.training.search import Draw, SearchSpec, Trial, TrialResult

# As Optuna's own; a search of fewer than 30 trials would draw most of them, or all, at random.
_MOST_DRAWN = 10


class Proposals(OptunaSearch):
    """Numbers what Optuna's TPE proposes, and has learned from every earlier result.

    Parameters
    ----------
    trials
        Whose numbers they get, in this order.
    earlier
        What an earlier attempt's trials came to.
    """

    def __init__(
        self, spec: SearchSpec, seed: int, trials: Sequence[Trial], earlier: Sequence[TrialResult] = ()
    ) -> None:
        # Told by raypipe's own events instead.
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        # The same seed again would draw again what an earlier attempt has tried.
        seed = (seed + len(earlier)) % 2**32
        drawn = min(_MOST_DRAWN, math.ceil(spec.trials / 3))
        sampler = optuna.samplers.TPESampler(n_startup_trials=drawn, seed=seed)
        space = {name: _distribution(draw) for name, draw in sorted(spec.space.items())}
        super().__init__(space, metric=spec.metric, mode=spec.better, sampler=sampler)
        self._numbers = [t.number for t in trials]
        for result in earlier:
            score = result.score(spec.metric)
            # As Tune tells it: a stopped trial counts with the score that it had reached, a failed one not at all.
            if result.outcome != "failed" and score is not None and math.isfinite(score):
                self.add_evaluated_point(dict(result.trial.parameters), score)

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """Return the next trial: its number, and the parameters proposed for it."""
        return {"trial": {"number": self._numbers.pop(0), "parameters": super().suggest(trial_id)}}


def _distribution(draw: Draw) -> BaseDistribution:
    if draw.choice:
        return CategoricalDistribution(draw.choice)
    if draw.uniform:
        return FloatDistribution(*draw.uniform)
    if draw.log_uniform:
        return FloatDistribution(*draw.log_uniform, log=True)
    assert draw.int_uniform is not None
    return IntDistribution(*draw.int_uniform)
