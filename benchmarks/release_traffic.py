"""Traffic of many rollouts at once, as the counts that gateways would have told by each look.

Shapes: `steady`; `daily`, load and base rates on a cycle; `bursts`, seconds of tenfold load and of trouble; `drift`,
the base rates of both arms rise and jump; `heavy`, values with heavy tails; `users`, many requests of few users, who
are all seen by every one of several replicas. Whatever the shape does, it does to both arms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.release_judges import Floats
from raypipe.rollout.latency import CAP, SLOW_RATE

SHAPES = ("steady", "daily", "bursts", "drift", "heavy", "users")
PER_S = 100
REPLICAS = 4
# Weight steps of the A/A rollouts, each a third of the time.
SHARES = (0.05, 0.25, 0.5)


@dataclass(frozen=True, slots=True)
class Load:
    """Requests in each look, and by how much trouble is multiplied in it: shape (rollouts, looks)."""

    requests: npt.NDArray[np.int64]
    trouble: Floats


def load(random: np.random.Generator, shape: str, rollouts: int, looks: int, seconds: float) -> Load:
    """Return the load of a shape; a look is so many seconds after the one before."""
    place = np.arange(looks) / looks
    rate = np.full((rollouts, looks), PER_S * seconds)
    trouble = np.ones((rollouts, looks))
    match shape:
        case "daily":
            phase = random.random((rollouts, 1))
            cycle = np.sin(2 * np.pi * (place + phase))
            rate, trouble = rate * (1 + 0.6 * cycle), 1 + 0.8 * cycle
        case "bursts":
            rate = rate * np.where(random.random((rollouts, looks)) < 0.05, 10, 0.5)
            trouble = np.where(random.random((rollouts, looks)) < 0.03, 20.0, 0.5)
        case "drift":
            trouble = 1 + 2 * place + 4 * (place > random.uniform(0.3, 0.9, (rollouts, 1)))
        case "heavy":
            trouble = np.minimum(random.pareto(1.5, (rollouts, looks)), 30)
    return Load(random.poisson(rate), trouble)


def errors(
    random: np.random.Generator,
    shape: str,
    rollouts: int,
    looks: int,
    *,
    base: float,
    difference: float,
    shares: tuple[float, ...] = SHARES,
    seconds: float = 1.0,
) -> Floats:
    """Return cumulative counts for `release_judges.error_cells(shares)`: (rollouts, looks, 3 x shares).

    Parameters
    ----------
    base, difference
        The champion's error rate where trouble is 1, at most 0.9 after it, and what the challenger adds.
    """
    if shape == "users":
        return _users(random, rollouts, looks, base=base, difference=difference, shares=shares)
    given = load(random, shape, rollouts, looks, seconds)
    step = np.minimum(np.arange(looks) * len(shares) // looks, len(shares) - 1)
    share = np.array(shares)[step]
    rate = np.minimum(base * given.trouble, 0.9)
    ours = random.binomial(given.requests, share)
    failed = random.binomial(ours, rate + difference)
    theirs = random.binomial(given.requests - ours, rate)
    return _by_step(np.stack([failed, theirs, given.requests - failed - theirs], axis=2), step, len(shares))


def _users(
    random: np.random.Generator,
    rollouts: int,
    looks: int,
    *,
    base: float,
    difference: float,
    shares: tuple[float, ...],
) -> Floats:
    """Every user comes to every replica, and who fails once fails always. Counts are divided by the replicas."""
    users = looks * 10
    step_of = np.minimum(np.arange(looks) * len(shares) // looks, len(shares) - 1)
    found = np.zeros(rollouts * looks * 3 * len(shares))
    first = random.integers(0, looks, (rollouts, users))
    place = random.random((rollouts, users))
    fate = random.random((rollouts, users))
    rows = np.arange(rollouts)[:, None] * looks
    for replica in range(REPLICAS):
        seen = first if not replica else np.minimum(first + random.geometric(0.02, first.shape), looks - 1)
        step = step_of[seen]
        ours = place < np.array(shares)[step]
        failed = fate < base + difference * ours
        kind = np.where(failed & ours, 0, np.where(failed, 1, 2))
        cell = (rows + seen) * (3 * len(shares)) + 3 * step + kind
        found += np.bincount(cell.ravel(), minlength=len(found)) / REPLICAS
    return found.reshape(rollouts, looks, -1).cumsum(axis=1)


def values(
    random: np.random.Generator, shape: str, rollouts: int, looks: int, *, mean: float, low: float, spread: float
) -> tuple[Floats, Floats]:
    """Return knots, and cumulative counts on them, of one number for each pair: (k,) and (rollouts, looks, k).

    Parameters
    ----------
    mean
        Of the numbers, which lie in [low, 1].
    low
        -1 for differences, 0 for rates, which are 0 or 1.
    spread
        About their standard deviation where trouble is 1; ignored for rates.
    """
    given = load(random, shape if shape != "users" else "steady", rollouts, looks, 1.0)
    pairs = np.maximum(given.requests // 10, 1)
    if low == 0:
        yes = random.binomial(pairs, mean)
        return np.array([0.0, 1.0]), np.stack([pairs - yes, yes], axis=2).cumsum(axis=1).astype(np.float64)
    # Each number is the mean plus noise of three sizes, and now and then as much as can be, more often in trouble.
    knots = np.array([-1.0, mean - spread, mean, mean + spread, 1.0])
    wild = np.minimum((0.02 if shape == "heavy" else 0.002) * given.trouble, 0.1)[..., None]
    ends, middle = np.array([(1 - mean) / 2, 0, 0, 0, (1 + mean) / 2]), np.array([0, 0.25, 0.5, 0.25, 0])
    counts = random.multinomial(pairs, wild * ends + (1 - wild) * middle)
    return knots, counts.cumsum(axis=1).astype(np.float64)


def blocks(
    random: np.random.Generator,
    shape: str,
    rollouts: int,
    count: int,
    *,
    slower: float,
    margin: float,
    added: float = 0.0,
) -> Floats:
    """Return each block's excess of slow calls (`raypipe.rollout.latency.block_excess`): (rollouts, blocks).

    Seconds are lognormal with deviation 0.5 (1.2 for `heavy`). In a block the champion has 380 calls and the
    challenger 20, as at 40 requests/s and 5 percent. In `daily` and `drift` both arms are slower together, in
    `bursts` each has stalls of its own, and in `users` five calls in a row are alike.

    Parameters
    ----------
    slower
        How many times as long the challenger takes.
    margin, added
        What it may take longer, and what it does, as shares of the champion's usual 95th percentile.
    """
    deviation = 1.2 if shape == "heavy" else 0.5
    common = load(random, shape if shape in ("daily", "drift") else "steady", rollouts, count, 1.0).trouble + 0.3
    usual = float(np.exp(1.6449 * deviation)) * 1.3
    found = np.zeros((rollouts, count))
    for block in range(count):
        arms = [_seconds(random, shape, deviation, (rollouts, calls)) * common[:, block, None] for calls in (380, 20)]
        if shape == "bursts":
            arms = [arm * np.where(random.random((rollouts, 1)) < 0.1, 3.0, 1.0) for arm in arms]
        theirs, ours = (np.sort(arm, axis=1) for arm in (arms[0], arms[1] * slower + (added - margin) * usual))
        found[:, block] = np.minimum(_above(ours, theirs), CAP) - np.minimum(_above(theirs, ours), CAP)
    return found / CAP


def _seconds(random: np.random.Generator, shape: str, deviation: float, size: tuple[int, int]) -> Floats:
    if shape != "users":
        return np.exp(random.standard_normal(size, np.float32) * np.float32(deviation))
    # Five calls of each user, who asks for much or for little every time: the first of a block counts.
    calls = 0.4 * random.standard_normal((*size, 1), np.float32) + 0.3 * random.standard_normal((*size, 5), np.float32)
    found: Floats = np.exp(calls[..., 0])
    return found


def _above(calls: Floats, of: Floats) -> Floats:
    """Return the share of `calls` above the 95th percentile of `of`, both sorted; bins are left out."""
    place = (1 - SLOW_RATE) * (of.shape[1] + 1)
    rank = int(place)
    part = place - rank
    shares = [(calls > of[:, k - 1, None]).mean(axis=1) for k in (rank, min(rank + 1, of.shape[1]))]
    found: Floats = (1 - part) * shares[0] + part * shares[1]
    return found


def outcomes(random: np.random.Generator, shape: str, rollouts: int, looks: int, *, difference: float) -> Floats:
    """Return cumulative moments for `release_judges.asymptotic` with `SHARES`: 10 units a look, lognormal values.

    Deviation of the logarithm 1 (1.5 for `heavy`), scaled to a mean of 1; the challenger's values are `difference`
    higher.
    """
    deviation = 1.5 if shape == "heavy" else 1.0
    given = load(random, "steady" if shape in ("users", "heavy") else shape, rollouts, looks, 1.0)
    share = np.array(SHARES)[np.arange(looks) * len(SHARES) // looks]
    ours = random.random((rollouts, looks, 10)) < share[:, None]
    value = np.exp(random.normal(-(deviation**2) / 2, deviation, ours.shape)) * given.trouble[..., None]
    value = value + difference * ours
    step = np.arange(looks) * len(SHARES) // looks
    one = np.stack(
        [
            np.stack([arm.sum(axis=2), (value * arm).sum(axis=2), (value**2 * arm).sum(axis=2)], axis=2)
            for arm in (ours, ~ours)
        ],
        axis=2,
    )
    found = np.zeros((rollouts, looks, len(SHARES), 2, 3))
    found[:, np.arange(looks), step] = one
    return found.cumsum(axis=1)


def _by_step(counts: npt.NDArray[np.int64], step: npt.NDArray[np.int64], steps: int) -> Floats:
    found = np.zeros((*counts.shape[:2], steps, 3))
    found[:, np.arange(counts.shape[1]), step] = counts
    return found.cumsum(axis=1).reshape(*counts.shape[:2], 3 * steps)
