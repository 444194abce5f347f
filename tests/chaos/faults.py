"""Which requests to the store go wrong, and how: a plan that a seed makes and that can be printed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

KINDS = {
    "refuse": "503, and the store never saw the request",
    "deny": "503, although the store has done what was asked",
    "drop": "the connection ends before the request reaches the store",
    "lose": "the store has done what was asked, and the connection ends before the reply",
    "truncate": "half of the reply, then the connection ends",
    "repeat": "the store gets the request twice, the client the second reply",
    "delay": "the request waits",
}
"""What can happen to a request."""

_LONGEST_DELAY_S = 0.4


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one request.

    Parameters
    ----------
    seconds
        How long it waits before that.
    """

    kind: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Faults by the number of the request, counted from 1."""

    faults: tuple[tuple[int, Fault], ...] = ()

    def at(self, number: int) -> Fault | None:
        """Return what happens to this request."""
        return dict(self.faults).get(number)


def planned(seed: int, rate: float, requests: int = 400, kinds: Sequence[str] = tuple(KINDS)) -> Plan:
    """Return a plan for so many requests, a share `rate` of which go wrong."""
    chosen = random.Random(seed)
    faults = []
    for number in range(1, requests + 1):
        if chosen.random() < rate:
            kind = chosen.choice(kinds)
            faults.append((number, Fault(kind, chosen.uniform(0, _LONGEST_DELAY_S) if kind == "delay" else 0.0)))
    return Plan(tuple(faults))
