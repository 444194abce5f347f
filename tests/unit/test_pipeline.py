"""Which exit code a run ends with, and what it does no more after a refusal."""

from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from raypipe import pipeline as main_path
from raypipe.contracts.gate import GateEvidence
from raypipe.ports import Backends, Ingested, ModelVersion, Trained
from raypipe.rollout.state import Phase
from raypipe.snapshot import Snapshot
from raypipe.training.spec import ValidationSpec
from raypipe.training.validation import judge, not_compared
from raypipe.verdict import Finding, Status, worst

SPEC = SimpleNamespace(name="m", validation=ValidationSpec(absolute={"auc": ">= 0.6"}), release=None)
PIPELINE = SimpleNamespace(spec=SPEC)
VERSION = ModelVersion("m", "1", "aa")
LINK = "link run {'s': 'lake/1.html'}"


class World:
    """Backends that note what they are asked for."""

    def __init__(self, gate=Status.PASSED, auc=0.7, phase=Phase.SUCCEEDED):
        self.gate, self.auc, self.phase, self.asked = gate, auc, phase, []
        noting = SimpleNamespace(
            ingest=self.ingest,
            build=self.build,
            register=self.register,
            link_reports=lambda run_id, reports: self.asked.append(f"link {run_id} {reports}"),
            get=lambda digest: None,
        )
        self.backends = Backends(noting, noting, None, noting, noting, None, None, None)

    def ingest(self, pipeline):
        verdict = worst([Finding("gate", self.gate, f"the gate says {self.gate}")])
        return {"s": Ingested("s", Snapshot("events/s", 1, "d", 9), verdict, GateEvidence(), "lake/1.html")}

    def build(self, pipeline, snapshots):
        self.asked.append("features")
        return Snapshot("examples/m", 1, "d", 9)

    def register(self, name, trained, bundle, verdict):
        self.asked.append(f"register {verdict.status}")
        return VERSION

    def train(self, pipeline, snapshots, on):
        self.asked.append("train")
        return Trained("run", "aa", {"auc": self.auc})

    def validate(self, pipeline, examples, trained, on):
        return judge(trained.metrics, pipeline.spec.validation, not_compared("there is no champion"))

    def roll_out(self, pipeline, version, on):
        self.asked.append("release")
        return SimpleNamespace(phase=self.phase, reason="because")


@contextmanager
def stages(world, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(main_path, "train_candidate", world.train)
        patch.setattr(main_path, "validate", world.validate)
        patch.setattr(main_path.release, "roll_out", world.roll_out)
        yield


@pytest.mark.parametrize(
    ("world", "code", "asked"),
    [
        (World(), 0, ["features", "train", LINK, "register PASSED", "release"]),
        (World(gate=Status.NOT_APPLICABLE), 0, ["features", "train", LINK, "register PASSED", "release"]),
        (World(gate=Status.QUARANTINED), 0, ["features", "train", LINK, "register PASSED", "release"]),
        (World(gate=Status.HALTED), 3, []),
        (World(gate=Status.INSUFFICIENT), 3, []),
        (World(auc=0.5), 3, ["features", "train", LINK, "register FAILED"]),
        (World(auc=None), 3, ["features", "train", LINK, "register INSUFFICIENT"]),
        (World(phase=Phase.ABORTED), 4, ["features", "train", LINK, "register PASSED", "release"]),
    ],
)
def test_a_run_goes_as_far_as_its_verdicts_allow(world, code, asked, monkeypatch):
    with stages(world, monkeypatch):
        result = main_path.run(PIPELINE, world.backends)
    assert (result.exit_code, world.asked) == (code, asked)


def test_a_refusal_says_why(monkeypatch):
    world = World(auc=0.5)
    with stages(world, monkeypatch):
        result = main_path.run(PIPELINE, world.backends)
    assert "auc is 0.5, at least 0.6 is required" in result.summary
    assert result.version == VERSION


def test_the_main_path_stays_short():
    assert len(Path(main_path.__file__).read_text().splitlines()) < 120
