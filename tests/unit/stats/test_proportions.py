import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.stats.proportions import count_ratio, share_difference, wilson

counted = st.integers(0, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counted, st.floats(0.5, 0.9999))
def test_the_interval_of_a_share_holds_it_and_stays_within_0_and_1(of, confidence):
    low, high = wilson(*of, confidence)
    assert 0 <= low <= high <= 1
    assert low <= (of[0] / of[1] if of[1] else 0.5) <= high


def test_more_confidence_is_a_wider_interval_and_more_rows_a_narrower_one():
    def width(*given):
        low, high = wilson(*given)
        return high - low

    assert width(5, 20, 0.99) > width(5, 20, 0.9) > width(50, 200, 0.9)


@given(counted, counted)
def test_a_difference_turns_round_with_its_shares(one, other):
    low, high = share_difference(one, other, 0.95)
    assert share_difference(other, one, 0.95) == pytest.approx((-high, -low))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        # Newcombe 1998, table II, method 10.
        ((56, 70), (48, 80), (0.0524, 0.3339)),
        ((9, 10), (3, 10), (0.1705, 0.8090)),
        ((10, 10), (0, 10), (0.6075, 1.0000)),
    ],
)
def test_the_interval_of_a_difference_is_the_published_one(one, other, expected):
    assert share_difference(one, other, 0.95) == pytest.approx(expected, abs=5e-5)


def test_a_ratio_of_counts_narrows_around_it_as_counts_grow():
    few, many = count_ratio(5, 10, 4, 0.95), count_ratio(5000, 10_000, 4, 0.95)
    assert few[0] < many[0] < 0.5 < many[1] < few[1]
    assert count_ratio(0, 10, 4, 0.95)[0] == 0
    assert count_ratio(3, 0.1, 1, 0.95)[1] == math.inf, "no row before: any multiple"
