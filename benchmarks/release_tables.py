"""What the study found, as values and as tables in the terminal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rich.table import Table

from benchmarks import release_traffic as traffic
from benchmarks.release_judges import Floats
from raypipe.stats.proportions import wilson


@dataclass(frozen=True, slots=True)
class Errors:
    """How often a kind of guardrail erred on one shape of traffic; `at_margin` or at a true difference of zero."""

    kind: str
    shape: str
    at_margin: bool
    aborted: int
    promoted: int
    rollouts: int

    def bound(self, count: int) -> float:
        """Return the lower end of the 95 % interval of a rate."""
        return wilson(count, self.rollouts, 0.95)[0]


@dataclass(frozen=True, slots=True)
class Delay:
    """How many observations a harm takes to be found, and how many a test at one look needs for it at power 0.8."""

    kind: str
    harm: str
    fixed: float
    median: float
    found: float
    unit: str

    @property
    def ratio(self) -> float:
        """Median over fixed."""
        return self.median / self.fixed


@dataclass(frozen=True, slots=True)
class Rule:
    """What a judge did to the same traffic: when each rollout was stopped, in seconds."""

    name: str
    stopped_s: dict[str, Floats]


def exposed(stopped_s: Floats) -> float:
    """Return how many users have met the challenger when half of the rollouts are stopped."""
    return float(np.median(stopped_s)) * traffic.PER_S * 0.05


def wrong(erred: list[Errors]) -> Table:
    """Return a table of how often each kind of guardrail erred."""
    table = Table(
        "guardrail", "true difference", *traffic.SHAPES, title=f"HARMFUL / SAFE said, % of {erred[0].rollouts:,}"
    )
    for kind in dict.fromkeys(e.kind for e in erred):
        for at_margin in (False, True):
            row = [e for e in erred if e.kind == kind and e.at_margin == at_margin]
            said = [f"{100 * e.aborted / e.rollouts:.1f} / {100 * e.promoted / e.rollouts:.1f}" for e in row]
            if row:
                table.add_row(kind, "at the margin" if at_margin else "zero", *said)
    return table


def slow(found: list[Delay]) -> Table:
    """Return a table of how long harms took to be found."""
    table = Table("guardrail", "harm", "one look", "median", "ratio", "found", title="observations until HARMFUL")
    for d in found:
        table.add_row(
            d.kind, d.harm, f"{d.fixed:,.0f} {d.unit}", f"{d.median:,.0f}", f"{d.ratio:.2f}", f"{d.found:.0%}"
        )
    return table


def peers(judged: list[Rule]) -> Table:
    """Return a table of what each judge did to the same traffic."""
    table = Table("judge", *judged[0].stopped_s, title="stopped within 30 min, and median users exposed until then")
    for rule in judged:
        said = [
            f"{np.isfinite(s).mean():.1%}" + (f", {exposed(s):,.0f}" if np.isfinite(np.median(s)) else "")
            for s in rule.stopped_s.values()
        ]
        table.add_row(rule.name, *said)
    return table


def ways(combined: dict[str, tuple[float, float]]) -> Table:
    """Return a table of how steps may be combined."""
    table = Table("steps combined by", "to HARMFUL", "to SAFE", title="median requests over steps of 5, 25 and 50 %")
    for name, (harm, safe) in combined.items():
        table.add_row(name, f"{harm:,.0f}", f"{safe:,.0f}")
    return table
