import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.errors import ConfigError
from raypipe.training.search import SearchSpec, Trial, TrialResult, best_of, possible_of, trials_of, with_parameters
from raypipe.training.spec import TabularMlp

SPACE = {
    "learning_rate": {"log_uniform": [1e-4, 1e-2]},
    "width": {"choice": [64, 128]},
    "depth": {"int_uniform": [1, 3]},
    "dropout": {"uniform": [0.0, 0.3]},
}
SPEC = SearchSpec.model_validate({"space": SPACE, "trials": 20})


def result(number, outcome="finished", auc=0.7):
    return TrialResult(Trial(number, {}), outcome, ({"auc": auc},) if auc is not None else ())


@given(st.integers(0, 2**32))
def test_the_same_seed_draws_the_same_trials_all_within_the_space(seed):
    trials = trials_of(SPEC, seed)
    assert trials == trials_of(SPEC, seed)
    assert [t.number for t in trials] == list(range(1, 21))
    for trial in trials:
        model = with_parameters(TabularMlp(), trial.parameters)
        assert 1e-4 * (1 - 1e-9) <= model.learning_rate <= 1e-2 * (1 + 1e-9)
        assert model.width in (64, 128)
        assert model.depth in (1, 2, 3)
        assert 0 <= model.dropout <= 0.3


def test_more_trials_begin_with_the_same_ones():
    assert trials_of(SPEC, 7)[:5] == trials_of(SPEC.model_copy(update={"trials": 5}), 7)


def test_a_logarithmic_draw_is_as_likely_in_each_decade():
    spec = SearchSpec.model_validate({"space": {"learning_rate": SPACE["learning_rate"]}, "trials": 4000})
    low = sum(t.parameters["learning_rate"] < 1e-3 for t in trials_of(spec, 1)) / 4000
    assert abs(low - 0.5) < 4 * math.sqrt(0.25 / 4000)


def test_of_what_optuna_proposes_only_the_numbers_are_known_beforehand():
    trials = trials_of(SPEC.model_copy(update={"sampler": "optuna"}), 7)
    assert trials == tuple(Trial(number, {}) for number in range(1, 21))


def test_what_may_be_tried_is_every_draw_or_every_end_of_the_space():
    assert possible_of(SPEC, 7) == trials_of(SPEC, 7)
    ends = [t.parameters for t in possible_of(SPEC.model_copy(update={"sampler": "optuna"}), 7)]
    assert all(set(e) == set(SPACE) for e in ends)
    assert {name: {e[name] for e in ends} for name in SPACE} == {
        "learning_rate": {1e-4, 1e-2},
        "width": {64, 128},
        "depth": {1, 3},
        "dropout": {0.0, 0.3},
    }


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        ({}, "give one of"),
        ({"choice": [1], "uniform": [0, 1]}, "give one of"),
        ({"uniform": [2, 1]}, "2 is not below 1"),
        ({"log_uniform": [0, 1]}, "above zero"),
    ],
)
def test_a_draw_that_makes_no_sense_is_refused(draw, words):
    with pytest.raises(ValueError, match=words):
        SearchSpec.model_validate({"space": {"width": draw}})


def test_a_field_that_the_model_does_not_have_is_named_with_those_that_it_has():
    with pytest.raises(ConfigError, match=r"names widht, .* has .*width"):
        with_parameters(TabularMlp(), {"widht": 3})
    with pytest.raises(ConfigError, match="dropout"):
        with_parameters(TabularMlp(), {"dropout": 1.5})


def test_the_best_is_the_first_of_the_best_that_finished():
    results = [
        result(1, auc=0.7),
        result(2, "stopped", 0.9),
        result(3, auc=0.8),
        result(4, auc=0.8),
        result(5, "failed"),
    ]
    assert best_of(results, SPEC).trial.number == 3
    assert best_of(results, SPEC.model_copy(update={"metric": "auc"})).trial.number == 3
    assert best_of([result(1, "stopped"), result(2, auc=None)], SPEC) is None
    assert best_of([result(1, auc=math.nan), result(2, auc=0.6)], SPEC).trial.number == 2


def test_of_a_loss_the_lowest_is_the_best():
    spec = SPEC.model_copy(update={"metric": "log_loss"})
    results = [TrialResult(Trial(n, {}), "finished", ({"log_loss": loss},)) for n, loss in ((1, 0.6), (2, 0.4))]
    assert best_of(results, spec).trial.number == 2
