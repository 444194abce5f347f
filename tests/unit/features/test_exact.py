"""Digits in base 2**32 against rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from raypipe.features.exact import join, split

values = st.lists(st.floats(min_value=-(2.0**1022), max_value=2.0**1022), max_size=30)


def total(digits: dict[int, np.ndarray]) -> float:
    return float(join({place: digit.sum(keepdims=True) for place, digit in digits.items()}, 1)[0])


@given(values)
def test_the_digits_of_a_value_are_the_value(numbers):
    given_values = np.array(numbers, dtype=np.float64)
    assert np.array_equal(join(split(given_values), len(numbers)), given_values)


@given(values)
def test_a_sum_is_right_to_two_units_in_the_last_place(numbers):
    exact = sum((Fraction(x) for x in numbers), Fraction(0))
    got = total(split(np.array(numbers, dtype=np.float64)))
    if math.isfinite(got):
        assert abs(Fraction(got) - exact) <= 2 * Fraction(math.ulp(float(exact)))
    else:
        assert abs(exact) >= Fraction(2.0**1022)


@given(values, values)
def test_a_sum_does_not_depend_on_what_was_split_with_it(numbers, company):
    alone = total(split(np.array(numbers, dtype=np.float64)))
    together = split(np.array(numbers + company, dtype=np.float64))
    assert total({place: digit[: len(numbers)] for place, digit in together.items()}) == alone


def test_no_values_sum_to_zero():
    assert join(split(np.array([])), 3).tolist() == [0.0, 0.0, 0.0]
