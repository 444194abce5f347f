"""Which hyperparameters a candidate is trained with, and what a run that was killed does not do again."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from raypipe import train as module
from raypipe.config import Pipeline
from raypipe.errors import RaypipeError
from raypipe.ports import ModelVersion, Trained
from raypipe.train import train_candidate
from raypipe.training.search import SearchSpec, Trial, TrialResult
from raypipe.training.spec import TabularMlp, TrainingSpec


class Killed(BaseException):
    """The process ends here."""


class Spec(SimpleNamespace):
    def model_copy(self, update):
        return Spec(**{**vars(self), **update})


def pipeline(**search):
    spec = SearchSpec.model_validate(
        {"space": {"width": {"int_uniform": [1, 99]}}, "trials": 3, "scheduler": "none", **search}
    )
    training = TrainingSpec(model=TabularMlp(width=7, epochs=2))
    return Pipeline(Spec(name="m", training=training, search=spec), {}, None, "")


@dataclass
class World:
    """A registry, a trainer and a store of bundles in memory; the widest trial is the best."""

    recorded: dict = field(default_factory=dict)
    tried: list = field(default_factory=list)
    trained: list = field(default_factory=list)
    finished_: dict = field(default_factory=dict)
    champion_: object = None
    known: list = field(default_factory=list)
    die_after: int = 99
    fail: bool = False

    def finished(self, name, digest):
        return self.finished_.get(digest)

    def start(self, pipeline, lineage):
        self.digest = lineage.inputs_digest
        return "run"

    def finish(self, run_id, trained):
        self.finished_[self.digest] = trained

    def report(self, run_id, step, metrics):
        pass

    def trials(self, name, digest):
        return tuple(self.recorded.get(digest, {}).values())

    def record_trial(self, run_id, digest, result):
        self.recorded.setdefault(digest, {})[result.trial.number] = result

    def champion(self, name):
        return self.champion_

    def search(self, pipeline, examples, trials, earlier, on_trial):
        results = []
        self.known = [r.trial for r in earlier]
        for number, parameters in ((t.number, t.parameters) for t in trials):
            trial = Trial(number, parameters or {"width": 10 * number})
            if len(self.tried) == self.die_after:
                raise Killed
            self.tried.append(trial.number)
            if self.fail:
                results.append(TrialResult(trial, "stopped", ({"auc": 0.5},)))
                continue
            for epoch in range(2):
                on_trial(trial, epoch, {"auc": trial.parameters["width"] / 100})
            results.append(TrialResult(trial, "finished", ({"auc": trial.parameters["width"] / 100},) * 2))
        return tuple(results)

    def train(self, pipeline, examples, lineage, on_epoch):
        self.trained.append(pipeline.spec.training.model)
        return "bundle", {"auc": 0.7}

    def put(self, bundle):
        return "digest"

    def get(self, digest):
        return SimpleNamespace(architecture=TabularMlp(width=55, epochs=2))

    def on(self):
        return SimpleNamespace(registry=self, trainer=self, bundles=self)

    def failed(self, run_id, reason):
        self.reason = reason


@pytest.fixture
def world(monkeypatch):
    def lineage_of(pipeline, snapshots):
        return SimpleNamespace(inputs_digest=f"{pipeline.spec.training.model.width} {pipeline.spec.search is None}")

    monkeypatch.setattr(module, "lineage_of", lineage_of)
    return World()


def widest(world):
    return max(r.trial.parameters["width"] for results in world.recorded.values() for r in results.values())


def test_the_best_trial_is_trained_and_every_trial_is_recorded(world):
    trained = train_candidate(pipeline(), ("examples",), world.on())
    assert [t.trial.number for t in trained.trials] == [1, 2, 3]
    assert [m.width for m in world.trained] == [widest(world)]
    assert len(world.recorded["7 False"]) == 3


def test_a_search_that_was_killed_does_not_repeat_what_has_finished(world):
    world.die_after = 2
    with pytest.raises(Killed):
        train_candidate(pipeline(), ("examples",), world.on())
    world.die_after = 99
    train_candidate(pipeline(), ("examples",), world.on())
    assert world.tried == [1, 2, 3]
    assert [m.width for m in world.trained] == [widest(world)]


def test_what_a_killed_search_had_proposed_is_told_to_the_next_and_keeps_its_parameters(world):
    world.die_after = 2
    with pytest.raises(Killed):
        train_candidate(pipeline(sampler="optuna"), ("examples",), world.on())
    world.die_after = 99
    trained = train_candidate(pipeline(sampler="optuna"), ("examples",), world.on())
    assert world.known == [Trial(1, {"width": 10}), Trial(2, {"width": 20})]
    assert [t.trial for t in trained.trials] == [*world.known, Trial(3, {"width": 30})]
    assert [m.width for m in world.trained] == [30]


def test_a_retraining_reuses_the_champions_hyperparameters_unless_the_file_says_otherwise(world):
    world.champion_ = ModelVersion("m", "4", "digest")
    train_candidate(pipeline(), ("examples",), world.on())
    assert (world.tried, [m.width for m in world.trained]) == ([], [55])
    train_candidate(pipeline(on_retrain="full"), ("examples",), world.on())
    assert world.tried == [1, 2, 3]


def test_the_same_inputs_are_not_searched_again_once_their_model_is_champion(world):
    train_candidate(pipeline(), ("examples",), world.on())
    world.champion_ = ModelVersion("m", "1", "digest")
    found = train_candidate(pipeline(), ("examples",), world.on())
    assert isinstance(found, Trained)
    assert len(world.trained) == 1


def test_a_search_in_which_nothing_finished_says_what_to_change(world):
    world.fail = True
    on = world.on()
    on.registry = SimpleNamespace(
        **{n: getattr(world, n) for n in ("finished", "start", "trials", "record_trial", "champion")}, fail=world.failed
    )
    with pytest.raises(RaypipeError, match="none of 3 trials finished within the budget"):
        train_candidate(pipeline(), ("examples",), on)
    assert "none of 3" in world.reason
