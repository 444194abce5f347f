"""A search on a real Ray cluster: trials report, hopeless ones stop, failing ones are named."""

from __future__ import annotations

import pytest
from test_train_ray import SPEC, examples_in

from raypipe.adapters.search_ray import search
from raypipe.errors import RaypipeError
from raypipe.training.code import CodePackage
from raypipe.training.search import SearchSpec, Trial, best_of
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
