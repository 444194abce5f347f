import numpy as np
import pytest

from raypipe.rollout.latency import LatencyEvidence, LatencyMeter, block_excess
from raypipe.stats.quantiles import LogHistogram


def drawn(random, calls, times=1.0, more=0.0):
    return LogHistogram.of((np.exp(random.normal(-4, 0.5, calls)) * times + more).tolist())


def excess(slow_champion=1.0, slow_challenger=1.0, more=0.0, margin=0.0):
    """Mean excess over many blocks of 200 and 40 calls."""
    random = np.random.default_rng(1)
    blocks = [
        block_excess(drawn(random, 200, slow_champion), drawn(random, 40, slow_challenger, more), margin)
        for _ in range(600)
    ]
    return np.mean(blocks, axis=0)


def test_without_a_difference_the_excess_is_about_nothing_also_when_both_are_slow():
    for slow in (1.0, 5.0):
        surely, perhaps = excess(slow, slow)
        assert surely <= 0.01
        assert perhaps >= -0.01


def test_a_challenger_that_is_exactly_the_margin_slower_is_neither_worse_nor_better():
    surely, perhaps = excess(more=0.005, margin=0.005)
    assert -0.1 < surely < 0.01
    assert -0.01 < perhaps < 0.1


def test_a_slower_challenger_is_told_from_a_faster_one():
    assert excess(slow_challenger=1.5)[0] > 0.3
    assert excess(slow_challenger=0.7)[1] < -0.3


def fed(meter, seconds, blocks, unit="u{0}"):
    for i in range(blocks * 100):
        for challenger in (False, True):
            meter.call(unit=unit.format(i), challenger=challenger, seconds=seconds[challenger], now_s=i * 0.1)
    return meter.evidence()


def test_a_block_is_one_observation_and_only_complete_ones_are_told():
    found = fed(LatencyMeter(0.001, 10.0), (0.010, 0.020), blocks=5)
    assert found.surely.count == 4
    assert found.surely.mean == 1.0
    assert found.challenger.quantile(0.95) == pytest.approx(0.020, rel=0.02)


def test_a_unit_counts_once_in_a_block_so_that_one_user_alone_never_completes_one():
    assert fed(LatencyMeter(0.001, 10.0), (0.010, 0.020), blocks=5, unit="same") == LatencyEvidence()


def test_blocks_merge_in_any_order():
    a, b = (fed(LatencyMeter(0.0, 10.0), (0.010, s), blocks=3) for s in (0.010, 0.020))
    assert a.merge(b) == b.merge(a)
    assert a.merge(LatencyEvidence()) == a
