import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rates import is_above

from raypipe.stats.betting import Cells, bounds, log_wealth, log_wealth_below

ROLLOUTS, LENGTH, ALPHA = 400, 1500, 0.05
RATE = Cells(np.array([1.0, 0.0]), np.ones(2), np.zeros(2), np.ones(2))
SHARES = np.repeat([0.05, 0.25, 0.5], LENGTH // 3)


def arms(difference, base, seed):
    """Cumulative counts, cells and weights of rollouts over three shares: (rollouts, looks, 9)."""
    random = np.random.default_rng(seed)
    ours = random.random((ROLLOUTS, LENGTH)) < SHARES
    failed = random.random((ROLLOUTS, LENGTH)) < base + difference * ours
    kind = np.where(failed & ours, 0, np.where(failed, 1, 2)) + 3 * (np.arange(LENGTH) * 3 // LENGTH)
    shares = np.array([0.05, 0.25, 0.5])
    odds = shares / (1 - shares)
    values = np.stack([np.ones(3), -odds, np.zeros(3)], axis=1).ravel()
    cells = Cells(values, np.repeat(shares, 3), -np.repeat(odds, 3), np.ones(9))
    return cells, (kind[..., None] == np.arange(9)).cumsum(axis=1)[:, 9::10]


def ever(found):
    return int((found >= -math.log(ALPHA)).any(axis=1).sum())


# The base rate drifts, and jumps within a step: a comparison of pooled arms would be confounded by it.
DRIFT = 0.03 + 0.02 * np.sin(np.arange(LENGTH) / 150) + 0.1 * (np.arange(LENGTH) > 3 * LENGTH // 5)


@pytest.mark.parametrize("difference", [0.0, 0.03])
def test_at_the_margin_neither_harm_nor_safety_is_said_too_often_at_any_of_150_looks(difference):
    cells, counts = arms(difference, DRIFT, seed=1)
    assert not is_above(ever(log_wealth(cells, counts, difference)), ROLLOUTS, ALPHA)
    assert not is_above(ever(log_wealth_below(cells, counts, difference)), ROLLOUTS, ALPHA)


def test_the_simulation_can_fail_a_margin_that_is_passed_is_found_in_nearly_every_rollout():
    cells, counts = arms(0.2, DRIFT, seed=2)
    assert ever(log_wealth(cells, counts, 0.02)) > 0.95 * ROLLOUTS
    assert is_above(ever(log_wealth(cells, counts, 0.02)), ROLLOUTS, ALPHA)


def test_the_running_mean_is_covered_though_the_mean_never_stays_the_same():
    # First far below the margin and then far above, so that the mean so far reaches the margin at the end alone.
    random = np.random.default_rng(3)
    chance = np.where(np.arange(LENGTH) < LENGTH // 2, 0.02, 0.18)
    yes = (random.random((ROLLOUTS, LENGTH)) < chance).cumsum(axis=1)
    looks = np.arange(1, LENGTH + 1)
    mean = chance.cumsum() / looks
    won = log_wealth(RATE, np.stack([yes, looks - yes], axis=2), 0.1) >= -math.log(ALPHA)
    assert not is_above(int((won & (mean <= 0.1)).any(axis=1).sum()), ROLLOUTS, ALPHA)


counts = st.tuples(st.integers(0, 10**6), st.integers(0, 10**6))


@given(counts, st.floats(0.01, 0.9), st.floats(0.001, 0.09))
def test_the_wealth_of_a_bet_falls_with_the_mean_that_it_is_against(counted, mean, more):
    assert log_wealth(RATE, counted, mean + more) <= log_wealth(RATE, counted, mean) + 1e-6
    assert log_wealth_below(RATE, counted, mean + more) >= log_wealth_below(RATE, counted, mean) - 1e-6


@given(st.integers(0, 1000), st.integers(1, 1000))
def test_an_interval_holds_the_mean_and_is_narrower_at_a_higher_risk(yes, no):
    wide = bounds(RATE, [yes, no], alpha_lower=0.01, alpha_upper=0.01)
    narrow = bounds(RATE, [yes, no], alpha_lower=0.1, alpha_upper=0.1)
    assert wide.lower <= narrow.lower <= yes / (yes + no) <= narrow.upper <= wide.upper


@given(counts)
def test_the_bounds_are_where_the_wealth_reaches_one_over_alpha(counted):
    found = bounds(RATE, counted, alpha_lower=0.05, alpha_upper=0.05)
    if found.lower > -1:
        assert log_wealth(RATE, counted, found.lower) == pytest.approx(math.log(20), abs=1e-3)
    if found.upper < 1:
        assert log_wealth_below(RATE, counted, found.upper) == pytest.approx(math.log(20), abs=1e-3)


@pytest.mark.parametrize("scale", [0, 1, 10**3, 10**6, 10**9])
def test_it_is_finite_and_right_from_nothing_to_a_billion(scale):
    found = bounds(RATE, [0.3 * scale, 0.7 * scale], alpha_lower=0.05, alpha_upper=0.05)
    assert -1 <= found.lower <= 0.3 <= found.upper <= 1
    assert math.isfinite(float(log_wealth(RATE, [0.3 * scale, 0.7 * scale], 0.29)))
    if scale == 10**9:
        assert found.upper - found.lower < 5e-4
