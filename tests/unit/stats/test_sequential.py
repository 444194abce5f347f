import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.stats.sequential import boundary, interval, log_wealth

ROLLOUTS, LENGTH, ALPHA = 200, 3000, 0.05
SHARES = np.repeat([0.05, 0.25, 0.5], [LENGTH // 2, LENGTH // 4, LENGTH // 4])
# The base rate drifts, and jumps within a step: a comparison of pooled arms would be confounded by it.
BASE = 0.03 + 0.02 * np.sin(np.arange(LENGTH) / 300) + 0.1 * (np.arange(LENGTH) > 3 * LENGTH // 5)


def sums(difference, seed=5):
    """S, V and W after every observation of many rollouts: (rollouts, observations)."""
    random = np.random.default_rng(seed)
    arms = random.random((ROLLOUTS, LENGTH)) < SHARES
    errors = random.random((ROLLOUTS, LENGTH)) < BASE + difference * arms
    x = (arms - SHARES) * errors
    total = np.cumsum(x, axis=1)
    before = np.concatenate([np.zeros((ROLLOUTS, 1)), total[:, :-1] / np.arange(1, LENGTH)], axis=1)
    return total, np.cumsum((x - before) ** 2, axis=1), np.cumsum(SHARES * (1 - SHARES))


def ever(total, variation, weight, margin, side):
    """Share of rollouts in which a look after some observation says that the difference is beyond the margin."""
    excess = side * (total - margin * weight)
    return float((log_wealth(excess, variation) >= -math.log(ALPHA)).any(axis=1).mean())


def test_without_a_difference_a_false_alarm_at_any_of_3000_looks_stays_within_alpha():
    assert ever(*sums(0.0), margin=0.0, side=1) <= ALPHA
    assert ever(*sums(0.0), margin=0.0, side=-1) <= ALPHA


def test_at_the_margin_neither_harm_nor_safety_is_claimed_more_often_than_allowed():
    at_margin = sums(0.02, seed=6)
    assert ever(*at_margin, margin=0.02, side=1) <= ALPHA
    assert ever(*at_margin, margin=0.02, side=-1) <= ALPHA


def test_the_coverage_test_can_fail_a_fixed_sample_test_looked_at_as_often_does():
    total, variation, _ = sums(0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = total / np.sqrt(variation)
    assert float((z[:, 100:] > 1.645).any(axis=1).mean()) > 3 * ALPHA


def test_a_real_harm_is_found_in_nearly_every_rollout():
    assert ever(*sums(0.2, seed=7), margin=0.02, side=1) > 0.99


def test_safety_is_found_when_there_is_no_difference_and_the_margin_leaves_room():
    assert ever(*sums(0.0, seed=8), margin=0.1, side=-1) > 0.9


@given(st.floats(0, 1e5), st.floats(0.001, 0.5))
def test_the_boundary_is_where_the_wealth_reaches_one_over_alpha(variation, alpha):
    assert log_wealth(boundary(variation, alpha), variation) == pytest.approx(-math.log(alpha), abs=1e-6)


@given(st.floats(0, 1e4), st.floats(0.1, 1e3), st.floats(0.001, 0.2))
def test_the_boundary_grows_with_variation_and_with_certainty(variation, more, alpha):
    assert boundary(variation + more, alpha) > boundary(variation, alpha)
    assert boundary(variation, alpha / 2) > boundary(variation, alpha)


def test_nothing_known_bounds_nothing():
    nothing = interval(total=0, variation=0, weight=0, alpha_lower=0.05, alpha_upper=0.05)
    assert (nothing.lower, nothing.upper) == (-math.inf, math.inf)
