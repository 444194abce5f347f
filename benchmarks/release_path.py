"""Rollouts through the evidence that replicas really give: cumulative parts, restarts, late and repeated pulls."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from raypipe.rollout.analysis import ErrorMeter, error_cells
from raypipe.rollout.evidence import Evidence, StepEvidence
from raypipe.stats.betting import log_wealth, log_wealth_below

_ROLLOUTS, _PULLS, _REQUESTS, _REPLICAS, _SHARE = 400, 40, 150, 3, 0.25


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many rollouts whose difference is the margin were called harmful or safe."""

    aborted: int
    promoted: int
    rollouts: int

    def __str__(self) -> str:
        return (
            f"at the margin {self.aborted} of {self.rollouts} rollouts were called harmful and {self.promoted} safe, "
            "with replicas that restart, evidence that comes late and pulls that are repeated"
        )


def replayed(random: np.random.Generator, *, margin: float, alpha: float, beta: float) -> Replayed:
    """Return how often the evidence path errs at the margin; each replica counts a third of the requests."""
    said = [_one(random, margin * 4, alpha, beta) for _ in range(_ROLLOUTS)]
    return Replayed(sum(h for h, _ in said), sum(s for _, s in said), _ROLLOUTS)


def _one(random: np.random.Generator, margin: float, alpha: float, beta: float) -> tuple[bool, bool]:
    meters = [ErrorMeter() for _ in range(_REPLICAS)]
    lives = [0] * _REPLICAS
    known = Evidence()
    told: list[Evidence] = []
    harm = safe = False
    for _ in range(_PULLS):
        ours = random.random(_REQUESTS) < _SHARE
        failed = random.random(_REQUESTS) < 0.02 + margin * ours
        for place, (challenger, fails) in enumerate(zip(ours.tolist(), failed.tolist(), strict=True)):
            meters[place % _REPLICAS].request(challenger=challenger, share=_SHARE, failed=fails)
        now = Evidence({(1, f"r{i}.{lives[i]}"): StepEvidence(m.evidence()) for i, m in enumerate(meters)})
        told.append(now)
        # A replica may not answer in time, an old answer may come again, and every answer may come twice.
        answered = {k: v for k, v in now.parts.items() if random.random() < 0.8}
        old = told[int(random.integers(len(told)))]
        for part in (Evidence(answered), old, Evidence(answered)):
            known = known.merge(part)
        for i in range(_REPLICAS):
            if random.random() < 0.05:
                # What it had counted since the last pull dies with it, whatever it was.
                meters[i], lives[i] = ErrorMeter(), lives[i] + 1
        cells, counts = error_cells(known.errors())
        harm = harm or float(log_wealth(cells, counts, margin)) >= -math.log(alpha)
        safe = safe or float(log_wealth_below(cells, counts, margin)) >= -math.log(beta)
    return harm, safe
