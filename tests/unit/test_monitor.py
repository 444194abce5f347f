"""A look is decided and recorded once, and what it decided is started once, wherever it is killed."""

import contextlib
from datetime import timedelta
from types import SimpleNamespace

import pytest
from lives import NOW, REFERENCE, live
from test_release import Ledger

from raypipe.drift.spec import MonitorSpec, TriggersSpec
from raypipe.errors import ConfigError
from raypipe.monitor import tick
from raypipe.ports import ModelVersion

LABEL = SimpleNamespace(matures_within=timedelta(days=2))
PIPELINE = SimpleNamespace(spec=SimpleNamespace(name="m", label=LABEL, monitor=MonitorSpec(), triggers=TriggersSpec()))


class Killed(BaseException):
    """The process ends here."""


class World:
    def __init__(self, champion=True, **how):
        self.ledger, self.jobs_, self.ended, self.overrides = Ledger(), [], set(), {}
        self.found, self.now_ = live(**how), NOW
        self.champion_ = ModelVersion("m", "1", "aa") if champion else None

    def champion(self, name):
        return self.champion_

    def metrics(self, name, number):
        return {"auc": 0.65}

    def get(self, digest):
        return SimpleNamespace(profile=REFERENCE)

    def live(self, pipeline, version, bundle, since, until):
        self.window = until - since
        return self.found

    def running(self, name):
        return next((j for j in self.jobs_ if j not in self.ended), None)

    def submit(self, job_id, config, overrides=()):
        if job_id not in self.jobs_:
            self.jobs_.append(job_id)
            self.overrides[job_id] = list(overrides)

    def ports(self, **replaced):
        ours = dict.fromkeys(("predictions", "registry", "bundles", "jobs"), self)
        return SimpleNamespace(**{**ours, "decisions": self.ledger, "now": lambda: self.now_, **replaced})

    @property
    def words(self):
        return [d.what for d in self.ledger.stream("monitor/m")]


def test_a_look_without_a_reason_is_recorded_and_starts_nothing():
    world = World()
    assert tick(PIPELINE, "p.yaml", world.ports()).decision.what == "hold"
    assert (world.words, world.jobs_) == (["hold"], [])


def test_a_reason_starts_one_retraining_and_only_one_while_it_runs():
    world = World(score_shift=1)
    tick(PIPELINE, "p.yaml", world.ports())
    tick(PIPELINE, "p.yaml", world.ports())
    world.now_ += timedelta(days=2)
    tick(PIPELINE, "p.yaml", world.ports())
    assert (world.words, world.jobs_) == (["fire", "hold", "hold"], ["retrain-m-1"])
    world.ended.add("retrain-m-1")
    tick(PIPELINE, "p.yaml", world.ports())
    assert world.jobs_ == ["retrain-m-1", "retrain-m-4"]


@pytest.mark.parametrize("call", range(1, 4))
def test_killed_at_any_call_and_looked_again_there_is_one_decision_to_fire_and_one_job(call):
    world = World(score_shift=1)
    calls = 0

    def dying(method):
        def wrapped(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == call:
                raise Killed
            return method(*args, **kwargs)

        return wrapped

    mortal = SimpleNamespace(stream=world.ledger.stream, record=dying(world.ledger.record))
    jobs = SimpleNamespace(running=world.running, submit=dying(world.submit))
    with contextlib.suppress(Killed):
        tick(PIPELINE, "p.yaml", world.ports(decisions=mortal, jobs=jobs))
    tick(PIPELINE, "p.yaml", world.ports())
    assert (world.words.count("fire"), world.jobs_) == (1, ["retrain-m-1"])


def test_a_retraining_that_was_submitted_is_not_started_again_by_a_cluster_that_forgot_its_jobs():
    world = World(score_shift=1)
    tick(PIPELINE, "p.yaml", world.ports())
    tick(PIPELINE, "p.yaml", world.ports())
    world.jobs_.clear()
    tick(PIPELINE, "p.yaml", world.ports())
    assert (world.words, world.jobs_) == (["fire", "hold", "hold"], [])


def test_a_retraining_gets_the_overrides_that_it_was_decided_with_though_another_look_submits_it():
    world = World(score_shift=1)

    def die(*_):
        raise Killed

    with contextlib.suppress(Killed):
        dying = SimpleNamespace(running=world.running, submit=die)
        tick(PIPELINE, "p.yaml", world.ports(jobs=dying), overrides=["training.seed=8"])
    tick(PIPELINE, "p.yaml", world.ports(), overrides=["training.seed=9"])
    assert world.overrides == {"retrain-m-1": ["training.seed=8"]}


@pytest.mark.parametrize(("stated", "days"), [(None, 3), ("5d", 5)])
def test_the_window_is_a_day_longer_than_labels_take_unless_the_file_says_otherwise(stated, days):
    world = World()
    pipeline = SimpleNamespace(spec=SimpleNamespace(**{**vars(PIPELINE.spec), "monitor": MonitorSpec(window=stated)}))
    tick(pipeline, "p.yaml", world.ports())
    assert world.window == timedelta(days=days)


def test_without_a_champion_it_says_what_to_do():
    with pytest.raises(ConfigError, match="no champion to monitor"):
        tick(PIPELINE, "p.yaml", World(champion=False).ports())
