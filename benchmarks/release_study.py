"""How release decisions err and how long they take, on simulated traffic, beside a test at one look and today's rules.

`make bench NAME=release_study` prints the tables, writes `benchmarks/results/release_study.json` and draws
`docs/release-study.svg`. With `CONFSEQ_PYTHON=/path/to/python` of an environment that has the package confseq, the
methods are compared with its own too (docs/release-statistics.md says how it is installed). Everything is seeded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from threadpoolctl import threadpool_limits

from benchmarks import bench
from benchmarks import release_judges as judges
from benchmarks import release_tables as tables
from benchmarks import release_traffic as traffic
from benchmarks.release_confseq import agreement
from benchmarks.release_judges import NEVER, Cells, Floats, Looks
from benchmarks.release_path import replayed
from benchmarks.release_picture import draw
from benchmarks.release_tables import Delay, Errors, Rule
from raypipe.rollout.guardrails import Outcome

ROLLOUTS = 2000
ALPHA, BETA = 0.05, 0.05
# alpha over four guardrails, as in a rollout that watches errors, latency, score shift and disagreement.
SHARE_OF_ALPHA = ALPHA / 4
MARGIN = 0.005
PICTURE = Path(__file__).parents[1] / "docs" / "release-study.svg"
_SEED = 20240
_CALM, _HARM = "no harm, 1 % errors", "1 % to 5 %"


def wrongly(random: np.random.Generator) -> Iterator[Errors]:
    """Yield how often each kind of guardrail erred on each shape, without a difference and at the margin."""
    for shape in traffic.SHAPES:
        for at_margin in (False, True):
            yield from _errors(random, shape, at_margin)
            yield from _latency(random, shape, at_margin)
            yield from _pairs(random, shape, at_margin)
            yield from _outcomes(random, shape, at_margin)


def _errors(random: np.random.Generator, shape: str, at_margin: bool) -> Iterator[Errors]:
    difference = MARGIN if at_margin else 0.0
    counts = traffic.errors(random, shape, ROLLOUTS, 300, base=0.01, difference=difference)
    cells = judges.error_cells(traffic.SHARES)
    # The margin is what is judged; at zero the harshest margin there is, none, is judged as well.
    yield _counted("error_rate", shape, at_margin, cells, counts, MARGIN)
    if not at_margin:
        yield _counted("error_rate, margin 0", shape, True, cells, counts, 0.0)


def _latency(random: np.random.Generator, shape: str, at_margin: bool) -> Iterator[Errors]:
    excess = traffic.blocks(random, shape, ROLLOUTS, 60, slower=1.0, margin=0.1, added=0.1 if at_margin else 0.0)
    yield _counted("latency", shape, at_margin, *_on_knots(excess), 0.0)


def _pairs(random: np.random.Generator, shape: str, at_margin: bool) -> Iterator[Errors]:
    # Differences capped at 0.2 and a margin of 0.02; losses within 1 and a margin of 0.01.
    for kind, margin, spread in (("score_shift", 0.1, 0.25), ("quality", 0.01, 0.05)):
        mean = margin if at_margin else 0.0
        knots, counts = traffic.values(random, shape, ROLLOUTS, 300, mean=mean, low=-1, spread=spread)
        cells = _cells(knots, -1.0)
        if kind == "quality":
            yield _counted(kind, shape, at_margin, cells, counts, margin)
            continue
        up = judges.harmful(cells, counts, margin, ALPHA / 2)
        down = judges.harmful(cells.mirrored(), counts, margin, ALPHA / 2)
        calm = np.maximum(judges.safe(cells, counts, margin, BETA), judges.safe(cells.mirrored(), counts, margin, BETA))
        aborted = int((np.minimum(up, down) != NEVER).sum())
        yield Errors(kind, shape, at_margin, aborted, int((calm != NEVER).sum()), ROLLOUTS)
    rate = 0.05 if at_margin else 0.025
    knots, counts = traffic.values(random, shape, ROLLOUTS, 300, mean=rate, low=0, spread=0)
    yield _counted("disagreement_rate", shape, at_margin, _cells(knots, 0.0), counts, 0.05)


def _outcomes(random: np.random.Generator, shape: str, at_margin: bool) -> Iterator[Errors]:
    difference = 0.1 if at_margin else 0.0
    moments = traffic.outcomes(random, shape, ROLLOUTS, 300, difference=difference)
    fewest = int(Outcome.model_fields["min_units"].default)
    judged = [
        judges.asymptotic(m, traffic.SHARES, margin, level, fewest=fewest)
        for m, margin, level in ((moments, 0.1, ALPHA), (_negated(moments), -0.1, BETA))
    ]
    aborted, promoted = (int((looks != NEVER).sum()) for looks in judged)
    yield Errors("outcome", shape, at_margin, aborted, promoted, ROLLOUTS)


def delays(random: np.random.Generator) -> Iterator[Delay]:
    """Yield how long harms take to be found with a guardrail's part of alpha, looking once a second."""
    for harm in (0.02, 0.03, 0.05):
        for share in (0.05, 0.5):
            fixed = judges.fixed_difference(0.01, harm, MARGIN, share, SHARE_OF_ALPHA)
            looks = int(4 * fixed / traffic.PER_S) + 10
            counts = traffic.errors(random, "steady", 500, looks, base=0.01, difference=harm - 0.01, shares=(share,))
            stopped = judges.harmful(judges.error_cells((share,)), counts, MARGIN, SHARE_OF_ALPHA)
            seen = counts.sum(axis=2)
            yield _delay("error_rate", f"1 % to {harm:.0%} at {share:.0%}", fixed, stopped, seen, "requests")
    for slower in (1.1, 1.25, 1.5):
        excess = traffic.blocks(random, "steady", 500, 400, slower=slower, margin=0.05)
        cells, counts = _on_knots(excess)
        stopped = judges.harmful(cells, counts, 0.0, SHARE_OF_ALPHA)
        fixed = judges.fixed_mean(float(excess.std()), float(excess.mean()), SHARE_OF_ALPHA)
        yield _delay("latency", f"p95 +{slower - 1:.0%}", fixed, stopped, counts.sum(axis=2), "blocks of 10 s")
    for shift in (0.03, 0.04, 0.06):
        # A standard deviation of 0.05, in units of the cap; either direction has half of alpha.
        knots, counts = traffic.values(random, "steady", 500, 400, mean=shift / 0.2, low=-1, spread=0.25 * 2**0.5)
        stopped = judges.harmful(_cells(knots, -1.0), counts, 0.1, SHARE_OF_ALPHA / 2)
        deviation = _deviation(knots, counts)
        fixed = judges.fixed_mean(deviation, shift / 0.2 - 0.1, SHARE_OF_ALPHA / 2)
        yield _delay("score_shift", f"by {shift:g}, margin 0.02", fixed, stopped, counts.sum(axis=2), "pairs")
    for rate in (0.08, 0.10):
        knots, counts = traffic.values(random, "steady", 500, 400, mean=rate, low=0, spread=0)
        stopped = judges.harmful(_cells(knots, 0.0), counts, 0.05, SHARE_OF_ALPHA)
        fixed = judges.fixed_rate(0.05, rate, SHARE_OF_ALPHA)
        yield _delay("disagreement_rate", f"5 % to {rate:.0%}", fixed, stopped, counts.sum(axis=2), "pairs")


def rules(random: np.random.Generator) -> list[Rule]:
    """Return what each judge did to the same half hour at 5 % weight: nothing wrong, and two harms."""
    found: dict[str, dict[str, Floats]] = {}
    for name, base, harm in (
        ("no harm, 0.5 % errors", 0.005, 0.005),
        (_CALM, 0.01, 0.01),
        ("1 % to 2 %", 0.01, 0.02),
        (_HARM, 0.01, 0.05),
    ):
        counts = traffic.errors(random, "steady", ROLLOUTS, 1800, base=base, difference=harm - base, shares=(0.05,))
        ours = judges.harmful(judges.error_cells((0.05,)), counts, MARGIN, SHARE_OF_ALPHA)
        # Requests by arm are not in the counts: the challenger's are near enough 5 % of all in a minute.
        minutes = np.diff(counts[:, 59::60], axis=1, prepend=0.0)
        rate = minutes[..., 0] / (0.05 * minutes.sum(axis=2))
        tens = np.diff(counts[:, 9::10], axis=1, prepend=0.0)
        points = [tens[..., k] / (share * tens.sum(axis=2)) for k, share in ((0, 0.05), (1, 0.95))]
        for rule, looks, every in (
            ("raypipe", ours, 1),
            ("Argo-like", judges.argo(rate, most=0.01, limit=3), 60),
            ("Flagger-like", judges.flagger(rate, most=0.01, threshold=5), 60),
            ("Kayenta-like", judges.kayenta(points[0], points[1], every=6), 60),
        ):
            stopped = np.where(looks == NEVER, np.inf, (np.minimum(looks, 10**6) + 1.0) * every)
            found.setdefault(rule, {})[name] = stopped
    return [Rule(name, by) for name, by in found.items()]


def combinations(random: np.random.Generator) -> dict[str, tuple[float, float]]:
    """Return, for ways to combine weight steps, the median requests to HARMFUL (+1.2 %) and to SAFE (no harm).

    Steps of 5, 25 and 50 percent, each a third of 15 minutes, over base rates that drift.
    """
    shares, looks = traffic.SHARES, 900
    bad = traffic.errors(random, "drift", 500, looks, base=0.004, difference=0.012, shares=shares)
    good = traffic.errors(random, "drift", 500, looks, base=0.004, difference=0.0, shares=shares)
    ours = judges.error_cells(shares)
    # Inverse propensity: a challenger's error counts 1 / p, so that each unit weighs the same; scaled to at most 1.
    scale = shares[0] / np.repeat(np.array(shares), 3)
    inverse = Cells(ours.values * scale, ours.weights * scale, ours.low * scale, scale)
    named: dict[str, tuple[Callable[[Floats], Looks], Callable[[Floats], Looks]]] = {
        "challenger's requests": (_harm_by(ours), _safe_by(ours)),
        "inverse propensity": (_harm_by(inverse), _safe_by(inverse)),
        "strata, fixed weights": (lambda c: _strata(c, shares, harm=True), lambda c: _strata(c, shares, harm=False)),
    }
    return {
        name: (_median_requests(harm(bad), bad), _median_requests(safe(good), good))
        for name, (harm, safe) in named.items()
    }


def _harm_by(cells: Cells) -> Callable[[Floats], Looks]:
    return lambda counts: judges.harmful(cells, counts, MARGIN, SHARE_OF_ALPHA)


def _safe_by(cells: Cells) -> Callable[[Floats], Looks]:
    return lambda counts: judges.safe(cells, counts, MARGIN, BETA)


def _strata(counts: Floats, shares: tuple[float, ...], *, harm: bool) -> Looks:
    """Judge the mean of the strata's differences, each bounded at its part of the error, at every 20th look."""
    n, level = len(shares), (SHARE_OF_ALPHA if harm else BETA) / len(shares)
    grid = np.linspace(-0.1, 0.3, 161)
    thinned = counts[:, 19::20]
    bounds = np.zeros((n, *thinned.shape[:2]))
    for k, share in enumerate(shares):
        cells, own = judges.error_cells((share,)), thinned[..., 3 * k : 3 * k + 3]
        # How many of the rates on a grid are refused: from below for harm, from above for safety.
        test = judges.log_wealth if harm else judges.log_wealth_below
        refused = sum((test(cells, own, float(m)) >= -np.log(level)).astype(np.int64) for m in grid)
        place = refused - 1 if harm else len(grid) - refused
        bounds[k] = np.where(own.sum(axis=2) == 0, np.nan, grid[np.clip(place, 0, len(grid) - 1)])
    # Over the steps that there have been, each with the same weight.
    mean = np.nanmean(bounds, axis=0)
    crossed = mean > MARGIN if harm else mean < MARGIN
    return np.where(crossed.any(axis=1), crossed.argmax(axis=1) * 20 + 19, NEVER)


def once(round_: int) -> bench.Figures:
    """Return the figures of the whole study; prints its tables."""
    random = np.random.default_rng(_SEED + round_)
    console = Console(width=150)
    judged = rules(random)
    console.print(tables.peers(judged))
    draw(PICTURE, [(r.name, r.stopped_s[_CALM], r.stopped_s[_HARM]) for r in judged])
    found = list(delays(random))
    console.print(tables.slow(found))
    console.print(tables.ways(combinations(random)))
    replay = replayed(random, margin=MARGIN, alpha=ALPHA, beta=BETA)
    console.print(f"the real evidence path: {replay}")
    if python := os.environ.get("CONFSEQ_PYTHON"):
        console.print(agreement(python))
    erred = list(wrongly(random))
    console.print(tables.wrong(erred))
    users = {r.name: tables.exposed(r.stopped_s[_HARM]) for r in judged}
    return {
        "aa_false_abort_max": max(e.aborted / e.rollouts for e in erred),
        "aa_false_abort_lower_max": max(e.bound(e.aborted) for e in erred),
        "false_promotion_lower_max": max(e.bound(e.promoted) for e in erred if e.at_margin),
        "exposed_over_flagger_rule": users["raypipe"] / users["Flagger-like"],
        "delay_over_fixed_sample": max(d.ratio for d in found if d.kind == "error_rate"),
        "delay_over_fixed_sample_any_guardrail": max(d.ratio for d in found),
        "path_false_abort_rate": replay.aborted / replay.rollouts,
        "path_false_promotion_rate": replay.promoted / replay.rollouts,
    }


def _counted(kind: str, shape: str, at_margin: bool, cells: Cells, counts: Floats, margin: float) -> Errors:
    aborted = judges.harmful(cells, counts, margin, ALPHA) != NEVER
    promoted = judges.safe(cells, counts, margin, BETA) != NEVER
    return Errors(kind, shape, at_margin, int(aborted.sum()), int(promoted.sum()), len(counts))


def _delay(kind: str, harm: str, fixed: float, stopped: Looks, seen: Floats, unit: str) -> Delay:
    found = stopped != NEVER
    at = np.where(found, seen[np.arange(len(seen)), np.where(found, stopped, 0)], np.inf)
    return Delay(kind, harm, fixed, float(np.median(at)), float(found.mean()), unit)


def _median_requests(stopped: Looks, counts: Floats) -> float:
    return _delay("", "", 1.0, stopped, counts.sum(axis=2), "").median


def _on_knots(values: Floats) -> tuple[Cells, Floats]:
    """Return what `raypipe.stats.tally` counts of one number for each look."""
    place = (values + 1) * 16
    knot = np.minimum(place.astype(np.int64), 31)
    counts = np.zeros((*values.shape, 33))
    np.put_along_axis(counts, knot[..., None], (knot + 1 - place)[..., None], axis=2)
    np.put_along_axis(counts, knot[..., None] + 1, (place - knot)[..., None], axis=2)
    return _cells(np.linspace(-1, 1, 33), -1.0), counts.cumsum(axis=1)


def _cells(knots: Floats, low: float) -> Cells:
    ones = np.ones(len(knots))
    return Cells(knots, ones, np.full(len(knots), low), ones)


def _negated(moments: Floats) -> Floats:
    return moments * np.array([1.0, -1.0, 1.0])


def _deviation(knots: Floats, counts: Floats) -> float:
    shares = counts[:, -1].sum(axis=0) / counts[:, -1].sum()
    mean = float(shares @ knots)
    return float(shares @ (knots - mean) ** 2) ** 0.5


if __name__ == "__main__":
    # Its matrices are small: more threads only wait for each other.
    with threadpool_limits(1):
        result = bench.measure(once, rounds=1, packages=("numpy", "scipy"))
    bench.write("release_study", result)
    bench.show("release_study", result)
