import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from raypipe.rollout.routing import BUCKETS, bucket, takes


@given(st.integers(0, BUCKETS - 1), st.floats(0, 100), st.floats(0, 100))
def test_a_larger_share_keeps_everybody_that_a_smaller_one_had(place, one, other):
    if takes(place, min(one, other)):
        assert takes(place, max(one, other))


@given(st.text(), st.text(min_size=1, max_size=16))
def test_nobody_is_in_no_share_and_everybody_in_the_whole(unit, salt):
    place = bucket(salt, unit)
    assert not takes(place, 0)
    assert takes(place, 100)


def test_a_share_is_the_share_that_was_asked_for():
    places = np.array([bucket("salt", f"user{i}") for i in range(50_000)])
    for percent in (1, 5, 10, 25, 50):
        share = np.mean([takes(p, percent) for p in places])
        # Four standard deviations of a binomial share.
        assert abs(share - percent / 100) < 4 * np.sqrt(percent / 100 * (1 - percent / 100) / len(places))


def test_another_salt_splits_independently():
    first = np.array([takes(bucket("a", f"u{i}"), 50) for i in range(20_000)])
    second = np.array([takes(bucket("b", f"u{i}"), 50) for i in range(20_000)])
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / np.sqrt(20_000)
