"""A search on a real Ray cluster: trials report, hopeless ones stop, failing ones are named."""

from __future__ import annotations

from datetime import timedelta

import pytest
from test_train_ray import SPEC, examples_in

from raypipe.adapters.search_optuna import Proposals
from raypipe.adapters.search_ray import search
from raypipe.errors import RaypipeError
from raypipe.training.code import CodePackage
from raypipe.training.search import SearchSpec, Trial, TrialResult, best_of, trials_of, with_parameters
from raypipe.training.spec import TrainingSpec, Workers

pytestmark = [
    pytest.mark.ray,
    pytest.mark.usefixtures("ray_cluster"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
FAILING = "from torch import nn\ndef build(inputs, width):\n    return nn.Linear(inputs, 1) if width else 1 / 0\n"


def test_trials_are_compared_on_held_out_rows_and_every_epoch_is_told(tmp_path):
    spec = SearchSpec.model_validate({"space": {"learning_rate": {"choice": [1e-6, 0.02]}}, "scheduler": "none"})
    trials = [Trial(1, {"learning_rate": 1e-6}), Trial(2, {"learning_rate": 0.02})]
    told = []
    results = search(examples_in(tmp_path), SPEC, spec, trials, on_trial=lambda t, e, m: told.append((t.number, e)))
    assert [r.outcome for r in results] == ["finished", "finished"]
    assert sorted(told) == [(n, e) for n in (1, 2) for e in range(3)]
    assert best_of(results, spec).trial.number == 2
    assert results[1].score("auc") > 0.8
    assert results[1].epochs[-1]["train_loss"] < results[1].epochs[0]["train_loss"]


def test_a_hopeless_trial_is_stopped_early_and_the_next_gets_its_place(tmp_path):
    rates = (0.02, 1e-6, 0.01)
    # Two such workers do not fit: whoever comes next waits until a stopped trial's worker is really gone.
    update = {"model": SPEC.model.model_copy(update={"epochs": 4}), "workers": Workers(num=1, cpus_per_worker=1.5)}
    training = SPEC.model_copy(update=update)
    space = {"learning_rate": {"choice": list(rates)}}
    spec = SearchSpec.model_validate({"space": space, "scheduler": "asha", "concurrent": 1})
    trials = [Trial(number, {"learning_rate": rate}) for number, rate in enumerate(rates, start=1)]
    results = search(examples_in(tmp_path), training, spec, trials, on_trial=lambda *_: None)
    assert [r.outcome for r in results[:2]] == ["finished", "stopped"], results
    assert 1 <= len(results[1].epochs) < 4
    assert results[2].outcome in ("finished", "stopped")
    assert best_of(results, spec).trial.number in (1, 3)


def test_a_trial_that_fails_is_named_when_none_succeeds(tmp_path):
    (tmp_path / "failing.py").write_text(FAILING)
    code = CodePackage.of("failing:build", tmp_path)
    model = {"kind": "entrypoint", "entrypoint": "failing:build", "parameters": {"width": 0}, "epochs": 1}
    training = TrainingSpec.model_validate({"model": model, "workers": {"num": 1, "cpus_per_worker": 0.5}})
    spec = SearchSpec.model_validate({"space": {"learning_rate": {"uniform": [0.01, 0.02]}}})
    rows = examples_in(tmp_path)
    with pytest.raises(RaypipeError, match="all 1 trials of the search failed"):
        search(rows, training, spec, [Trial(1, {"learning_rate": 0.01})], code=code, on_trial=lambda *_: None)


OPTUNA = SearchSpec.model_validate(
    {
        "space": {
            "learning_rate": {"log_uniform": [1e-4, 0.05]},
            "width": {"choice": [8, 16]},
            "depth": {"int_uniform": [0, 1]},
            "dropout": {"uniform": [0.0, 0.3]},
        },
        "sampler": "optuna",
        "trials": 3,
        "concurrent": 1,
    }
)


def test_optuna_proposes_trials_within_the_space_and_hopeless_ones_still_stop(tmp_path):
    told = []
    trials = trials_of(OPTUNA, 7)[:2]
    results = search(examples_in(tmp_path), SPEC, OPTUNA, trials, on_trial=lambda *t: told.append(t[:2]))
    assert [r.trial.number for r in results] == [1, 2]
    assert told == [(r.trial, epoch) for r in results for epoch in range(len(r.epochs))]
    assert results[0].outcome == "finished"
    assert {r.outcome for r in results} <= {"finished", "stopped"}, results
    for result in results:
        assert set(result.trial.parameters) == set(OPTUNA.space)
        assert with_parameters(SPEC.model, result.trial.parameters)


def test_an_optuna_search_goes_on_from_the_trials_that_have_finished(tmp_path):
    tried = Proposals(OPTUNA, 7, trials_of(OPTUNA, 7))
    earlier = [TrialResult(Trial(**tried.suggest("first")["trial"]), "finished", ({"auc": 0.7},))]
    earlier.append(TrialResult(Trial(3, {}), "failed", (), "it reported nothing before the search's budget ended"))
    results = search(examples_in(tmp_path), SPEC, OPTUNA, [Trial(2, {})], earlier=earlier, on_trial=lambda *_: None)
    assert [(r.trial.number, r.outcome) for r in results] == [(2, "finished")]
    assert set(results[0].trial.parameters) == set(OPTUNA.space)
    assert results[0].trial.parameters != earlier[0].trial.parameters


def test_trials_that_optuna_had_no_time_to_propose_have_failed_like_those_that_had_no_time_to_report(tmp_path):
    spec = OPTUNA.model_copy(update={"budget": timedelta(seconds=1)})
    with pytest.raises(RaypipeError, match="all 3 trials of the search failed, .* before the search's budget ended"):
        search(examples_in(tmp_path), SPEC, spec, trials_of(spec, 7), on_trial=lambda *_: None)
