import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.stats.bootstrap import paired_difference, weighted_auc
from raypipe.stats.metrics import auc


def rows(n=400, seed=0):
    random = np.random.default_rng(seed)
    truth = random.normal(size=n)
    labels = (truth > 0).astype(float)
    good, bad = (1 / (1 + np.exp(-truth - s * random.normal(size=n))) for s in (0.5, 3.0))
    return labels, good, bad


@settings(max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.1, 0.2, 0.5, 0.9])), min_size=2, max_size=40), st.data())
def test_weights_count_rows_as_often_as_repeating_them_would(given_rows, data):
    labels = np.array([float(y) for y, _ in given_rows])
    scores = np.array([s for _, s in given_rows])
    weights = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(labels), max_size=len(labels))))
    repeated = auc(np.repeat(labels, weights), np.repeat(scores, weights))
    found = weighted_auc(labels, scores)(weights[None, :].astype(float))[0]
    assert np.isnan(found) if repeated is None else found == pytest.approx(repeated)


@pytest.mark.parametrize("metric", ["auc", "log_loss", "brier", "f1"])
def test_the_interval_holds_the_difference_and_turns_round_with_the_models(metric):
    labels, good, bad = rows()
    one = paired_difference(metric, labels, good, bad)
    other = paired_difference(metric, labels, bad, good)
    assert one.lower < one.value < one.upper
    assert (other.lower, other.upper) == pytest.approx((-one.upper, -one.lower))
    assert (one.lower > 0) == (metric in ("auc", "f1"))


def test_equal_models_do_not_differ_and_the_order_of_rows_does_not_matter_for_the_metric():
    labels, good, bad = rows()
    same = paired_difference("auc", labels, good, good)
    assert (same.lower, same.value, same.upper) == (0, 0, 0)
    turned = paired_difference("auc", labels[::-1], good[::-1], bad[::-1])
    assert turned.value == pytest.approx(paired_difference("auc", labels, good, bad).value)


def test_the_interval_covers_the_true_difference_about_as_often_as_it_says():
    _, good, bad = rows(200_000, seed=99)
    labels = rows(200_000, seed=99)[0]
    truth = auc(labels, good) - auc(labels, bad)
    found = [paired_difference("auc", *rows(300, seed=s), draws=200) for s in range(150)]
    covered = np.mean([d.lower <= truth <= d.upper for d in found])
    assert covered > 0.88
    # Wide enough to be right, and narrow enough to tell these two apart.
    assert np.mean([d.lower > 0 for d in found]) > 0.95


def test_one_class_tells_nothing():
    assert paired_difference("auc", np.zeros(5), np.full(5, 0.2), np.full(5, 0.3)) is None
