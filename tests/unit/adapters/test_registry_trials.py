"""A trial is found again in MLflow, however many epochs it ran."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about MLflow's own types, while it is imported
    import mlflow
    from mlflow import MlflowClient

    from raypipe.adapters.registry_mlflow import TRIAL, MlflowRegistry

from raypipe.training.search import Trial, TrialResult

# About MLflow's own use of SQLAlchemy: its server runs in this process.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
TRIALS = Trial(1, {"width": 64}), Trial(2, {"width": 32})
EPOCHS = tuple({"auc": 0.5 + n / 1000, "log_loss": 0.7, "brier": 0.2, "loss": 0.6} for n in range(300))


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root: Path = tmp_path_factory.mktemp("mlflow")
    yield f"sqlite:///{root}/mlflow.db"
    # A registry's address is that of the whole process.
    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="module")
def parent(uri: str) -> str:
    client = MlflowClient(uri)
    return str(client.create_run(client.create_experiment("m")).info.run_id)


def test_a_trial_of_many_epochs_is_read_back_with_their_number_and_its_score(uri: str, parent: str) -> None:
    registry = MlflowRegistry(uri)
    registry.record_trial(parent, "long", TrialResult(TRIALS[0], "finished", EPOCHS))
    registry.record_trial(parent, "long", TrialResult(TRIALS[1], "failed", (), "no memory"))
    registry.record_trial(parent, "long", TrialResult(Trial(3, {}), "failed", (), "never proposed"))
    first, second, third = registry.trials("m", "long")
    assert (first.trial, first.outcome, len(first.epochs)) == (TRIALS[0], "finished", 300)
    assert first.score("auc") == EPOCHS[-1]["auc"]
    assert second == TrialResult(TRIALS[1], "failed", (), "no memory")
    assert third.trial == Trial(3, {})


def test_a_trial_whose_tag_is_cut_off_has_not_run(uri: str, parent: str) -> None:
    registry, client = MlflowRegistry(uri), MlflowClient(uri)
    for trial in TRIALS:
        registry.record_trial(parent, "cut", TrialResult(trial, "finished", EPOCHS[:2]))
    runs = client.search_runs([client.get_run(parent).info.experiment_id], "tags.`raypipe.search` = 'cut'")
    (first,) = (r for r in runs if r.data.params["training.model.width"] == "64")
    client.set_tag(first.info.run_id, TRIAL, first.data.tags[TRIAL][:-20])
    assert [r.trial for r in registry.trials("m", "cut")] == [TRIALS[1]]
