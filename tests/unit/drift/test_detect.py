import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.drift.detect import judge_shift, psi, shift
from raypipe.profile import ColumnProfile
from raypipe.verdict import Status


def profile(values):
    return ColumnProfile.of(pa.chunked_array([pa.array(values)]))


histograms = st.integers(2, 8).flatmap(
    lambda n: st.tuples(*(st.lists(st.integers(0, 1000), min_size=n, max_size=n) for _ in range(2)))
)


@given(histograms)
def test_an_index_is_never_negative_symmetric_and_zero_for_equal_histograms(pair):
    one, other = pair
    assert psi(one, other) >= 0
    assert psi(one, other) == pytest.approx(psi(other, one))
    assert psi(one, one) == 0


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_without_a_shift_the_index_is_about_the_noise(seed):
    random = np.random.default_rng(seed)
    found = shift(profile(random.normal(size=4000)), profile(random.normal(size=2000)))
    assert found.psi < 4 * found.noise


def test_a_shift_of_one_standard_deviation_is_harmful_and_a_small_one_is_not():
    random = np.random.default_rng(0)
    reference = profile(random.normal(size=10_000))
    assert judge_shift("x", reference, profile(random.normal(1, size=5000)), 0.25).status is Status.HARMFUL
    near = judge_shift("x", reference, profile(random.normal(0.05, size=5000)), 0.25)
    assert near.status is Status.SAFE
    assert "0.25 is allowed" in near.message


def test_how_live_rows_were_split_does_not_matter():
    random = np.random.default_rng(1)
    reference, live = profile(random.normal(size=5000)), random.normal(0.5, size=3000)
    parts = profile(live[:100]).merge(profile(live[100:1700])).merge(profile(live[1700:]))
    assert shift(reference, parts).psi == pytest.approx(shift(reference, profile(live)).psi, rel=0.1)


def test_new_categories_and_new_nulls_are_shifts():
    reference = profile(["a"] * 500 + ["b"] * 500)
    assert shift(reference, profile(["a"] * 500 + ["z"] * 500)).psi > 1
    assert shift(reference, profile(["a"] * 250 + ["b"] * 250 + [None] * 500)).psi > 1
    assert shift(reference, profile(["b"] * 500 + ["a"] * 500)).psi == 0


@pytest.mark.parametrize("values", [[3.0] * 500, ["a"] * 500, [None] * 500])
def test_a_constant_that_stayed_is_not_compared_and_one_that_changed_is_said(values):
    reference = ColumnProfile.of(
        pa.chunked_array([pa.array(values, pa.string() if values[0] in ("a",) else pa.float64())])
    )
    assert judge_shift("x", reference, reference, 0.25).status is Status.NOT_APPLICABLE
    changed = profile(["b"] * 300) if reference.type == "string" else profile([4.0] * 300)
    found = judge_shift("x", reference, changed, 0.25)
    assert found.status is Status.HARMFUL


def test_without_rows_nothing_is_known():
    some, none = profile([1.0, 2.0]), ColumnProfile.of(pa.chunked_array([pa.array([], pa.float64())]))
    assert judge_shift("x", some, none, 0.25).status is Status.INSUFFICIENT
    assert judge_shift("x", None, some, 0.25).status is Status.INSUFFICIENT
