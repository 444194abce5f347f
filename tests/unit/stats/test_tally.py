import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.stats.betting import Cells, log_wealth
from raypipe.stats.tally import Tally, TallyMeter

numbers = st.lists(st.floats(-1, 1), max_size=30)


def is_same(one, other):
    return set(one.masses) == set(other.masses) and all(
        one.masses[k] == pytest.approx(other.masses[k]) for k in one.masses
    )


@given(numbers, numbers, numbers)
def test_tallies_merge_in_any_order_to_the_tally_of_all_numbers(a, b, c):
    one, two, three = Tally.of(a), Tally.of(b), Tally.of(c)
    whole = Tally.of(a + b + c)
    assert is_same(one.merge(two).merge(three), whole)
    assert is_same(three.merge(one.merge(two)), whole)
    assert one.merge(Tally()) == one


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=50))
def test_the_mean_of_a_tally_is_that_of_its_numbers(values):
    tally = Tally.of(values)
    assert tally.count == pytest.approx(len(values))
    assert tally.mean == pytest.approx(np.mean(values), abs=1e-9)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=50), st.floats(-0.5, 0.5))
def test_a_bet_on_a_tally_wins_at_most_what_it_would_have_won_on_the_numbers(values, mean):
    cells, masses = Tally.of(values).cells(low=-1.0)
    ones = np.ones(len(values))
    exact = Cells(np.array(values), ones, -ones, ones)
    assert log_wealth(cells, masses, mean) <= log_wealth(exact, ones, mean) + 1e-6


def test_what_lies_beyond_is_capped_and_what_is_no_number_is_refused():
    assert Tally.of([7.0, -7.0]).masses == {128: 1.0, 0: 1.0}
    assert Tally().count == 0
    assert math.isnan(Tally().mean)
    with pytest.raises(ValueError, match="NaN is no evidence"):
        TallyMeter().add(math.nan)
