import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.stats.quantiles import LogHistogram

waits = st.lists(st.floats(1e-5, 1e3), min_size=1, max_size=60)


@given(waits, st.floats(0.01, 1))
def test_a_quantile_is_at_least_the_true_one_and_at_most_one_percent_more(values, share):
    true = sorted(values)[max(1, math.ceil(share * len(values))) - 1]
    assert true * (1 - 1e-9) <= LogHistogram.of(values).quantile(share) <= true * 1.0101


@given(waits, waits)
def test_histograms_merge_to_that_of_all_numbers(a, b):
    assert LogHistogram.of(a).merge(LogHistogram.of(b)) == LogHistogram.of(a + b)
    assert LogHistogram.of(b).merge(LogHistogram.of(a)).count == len(a) + len(b)


@given(waits, st.floats(1e-5, 1e3))
def test_how_many_are_above_is_bounded_on_both_sides(values, limit):
    found = LogHistogram.of(values)
    assert found.surely_above(limit) <= int((np.array(values) >= limit * (1 - 1e-9)).sum())
    assert found.perhaps_above(limit) >= int((np.array(values) > limit * (1 + 1e-9)).sum())


def test_nothing_has_no_quantile_and_the_scale_ends_somewhere():
    assert LogHistogram().quantile(0.5) is None
    assert LogHistogram.of([0.0, math.inf]).count == 2
    with pytest.raises(ValueError, match="NaN"):
        LogHistogram.of([math.nan])
    with pytest.raises(ValueError, match="rank 3"):
        LogHistogram.of([1.0]).bin_at(3)
