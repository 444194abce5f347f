"""The metrics agree with scikit-learn, and say None where nothing can be told."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given
from hypothesis import strategies as st

from raypipe.stats.metrics import auc, binary_metrics, brier, f1, log_loss

pairs = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0])), min_size=2, max_size=60
).filter(lambda rows: len({label for label, _ in rows}) == 2)


@given(pairs)
def test_metrics_agree_with_scikit_learn(rows: list[tuple[float, float]]) -> None:
    y, p = (np.array(c) for c in zip(*rows, strict=True))
    assert auc(y, p) == pytest.approx(sk.roc_auc_score(y, p))
    assert log_loss(y, p) == pytest.approx(sk.log_loss(y, p))
    assert brier(y, p) == pytest.approx(sk.brier_score_loss(y, p))
    assert f1(y, p, 0.5) == pytest.approx(sk.f1_score(y, p >= 0.5, zero_division=0.0))


def test_no_rows_have_no_metric() -> None:
    assert set(binary_metrics(np.zeros(0), np.zeros(0), 0.5).values()) == {None}


def test_one_nan_among_the_scores_leaves_no_metric() -> None:
    y, p = np.array([0.0, 1.0, 1.0]), np.array([0.1, np.nan, 0.9])
    assert set(binary_metrics(y, p, 0.5).values()) == {None}


@pytest.mark.parametrize("only", [0.0, 1.0])
def test_one_class_has_no_auc(only: float) -> None:
    assert auc(np.full(5, only), np.linspace(0, 1, 5)) is None


def test_f1_without_positives_is_not_known_and_without_hits_is_zero() -> None:
    assert f1(np.zeros(3), np.full(3, 0.9), 0.5) is None
    assert f1(np.ones(3), np.full(3, 0.1), 0.5) == 0.0


def test_a_certain_wrong_answer_costs_a_finite_loss() -> None:
    loss = log_loss(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    assert loss is not None
    assert 30 < loss < 40


def test_unequal_lengths_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="one score for each label"):
        auc(np.zeros(2), np.zeros(3))
