import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rates import is_above

from raypipe.stats.asymptotic import Moments, normal_boundary

numbers = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30)


def of(values):
    found = Moments()
    for value in values:
        found = found.add(value)
    return found


@given(numbers, numbers)
def test_moments_merge_to_those_of_all_numbers(a, b):
    whole = of(a).merge(of(b))
    assert whole.count == len(a) + len(b)
    assert whole.mean == pytest.approx(np.mean(a + b), abs=1e-6)
    assert whole.variance == pytest.approx(np.var(a + b, ddof=1), rel=1e-6, abs=1e-6)
    assert of(a).merge(Moments()) == of(a)


@given(st.floats(0, 1e9), st.floats(0.001, 1e6), st.floats(0.0001, 0.2))
def test_the_boundary_grows_with_time_and_with_certainty(time, more, alpha):
    assert normal_boundary(time + more, alpha, tightest_at=1e3) >= normal_boundary(time, alpha, tightest_at=1e3)
    assert normal_boundary(1e3, alpha / 2, tightest_at=1e3) > normal_boundary(1e3, alpha, tightest_at=1e3)


def test_a_random_walk_crosses_the_boundary_no_more_often_than_allowed():
    random = np.random.default_rng(5)
    walks = random.standard_normal((1000, 2000)).cumsum(axis=1)
    line = [normal_boundary(t, 0.05, tightest_at=500) for t in range(1, 2001)]
    crossed = int((walks > line).any(axis=1).sum())
    assert not is_above(crossed, 1000, 0.05)
    assert crossed > 5


def test_infinite_numbers_and_single_ones_tell_nothing():
    assert Moments().add(1.0).variance == math.inf
    with pytest.raises(ValueError, match="inf is no evidence"):
        Moments().add(math.inf)
