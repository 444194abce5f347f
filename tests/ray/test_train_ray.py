"""Training on a real Ray cluster: it learns, repeats itself, outlives its workers and goes on where it stopped."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raypipe.adapters.lake.store import Store
from raypipe.adapters.train_ray import Trained, train
from raypipe.adapters.train_rows import Examples, evaluate
from raypipe.bundle import Bundle, Lineage
from raypipe.environment import StoreAddress
from raypipe.errors import RaypipeError
from raypipe.training.code import CodePackage
from raypipe.training.spec import TrainingSpec

pytestmark = [
    pytest.mark.ray,
    pytest.mark.usefixtures("ray_cluster"),
    # Ray warns of its own settings.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

NAMES = ("x", "carrier", "at")
ROWS = 3000
SPEC = TrainingSpec.model_validate(
    {
        "model": {"kind": "tabular_mlp", "width": 16, "depth": 1, "learning_rate": 0.02, "epochs": 3, "batch_size": 64},
        "workers": {"num": 1, "cpus_per_worker": 0.5},
    }
)
TWO_WORKERS = SPEC.model_copy(update={"workers": SPEC.workers.model_copy(update={"num": 2})})
FALLING = """
import os
from pathlib import Path
from torch import nn

class Falling(nn.Module):
    def __init__(self, inputs, flag):
        super().__init__()
        self.line, self.flag, self.calls = nn.Linear(inputs, 1), Path(flag), 0

    def forward(self, x):
        self.calls += 1
        if self.training and self.calls == 100 and not self.flag.exists():
            self.flag.touch()
            os._exit(1)
        return self.line(x).squeeze(-1)

def build(inputs, flag):
    return Falling(inputs, flag)
"""
BROKEN = "def build(inputs):\n    return 3\n"


def examples_in(directory: Path, files: int = 3, labelled: bool = True) -> Examples:
    random, start = np.random.default_rng(0), datetime(2013, 1, 1, tzinfo=UTC)
    times = pa.array([start + timedelta(minutes=i) for i in range(ROWS)], pa.timestamp("us", "UTC"))
    x, carrier = random.normal(size=ROWS), random.choice(["UA", "AA"], ROWS)
    late = (x + (carrier == "UA") + random.normal(size=ROWS) * 0.5 > 0.5).astype(float)
    table = pa.table(
        {
            "event_id": [str(i) for i in range(ROWS)],
            "event_at": times,
            "prediction_at": times,
            "known_at": times,
            "x": pa.array(x, mask=random.random(ROWS) < 0.02),
            "carrier": carrier,
            "at": times,
            "label": pa.array(late, mask=np.arange(ROWS) % 10 == 3 if labelled else np.ones(ROWS, bool)),
        }
    )
    (directory / "rows").mkdir()
    uris = []
    for i in range(files):
        part = table.slice(i * ROWS // files, (i + 1) * ROWS // files - i * ROWS // files)
        uris.append(str(directory / "rows" / f"{i}.parquet"))
        pq.write_table(part, uris[-1])
    return Examples.of(Store(StoreAddress(lake=str(directory / "lake"))), uris, NAMES)


def bundle_of(examples: Examples, trained: Trained, spec: TrainingSpec, code: CodePackage | None = None) -> Bundle:
    return Bundle(
        name="flights",
        columns=examples.columns,
        label="late",
        architecture=spec.model,
        transforms=trained.transforms,
        profile=trained.profile,
        weights=trained.weights,
        example=trained.example,
        lineage=Lineage((), (), "", "", "", spec.seed, ()),
        code=code,
    )


@dataclass(frozen=True)
class Run:
    examples: Examples
    trained: Trained
    reported: list[tuple[int, Mapping[str, float]]]


@pytest.fixture(scope="module")
def run(ray_cluster: object, tmp_path_factory: pytest.TempPathFactory) -> Run:
    examples, reported = examples_in(tmp_path_factory.mktemp("train")), []
    trained = train(examples, SPEC, name="one", on_epoch=lambda epoch, metrics: reported.append((epoch, metrics)))
    return Run(examples, trained, reported)


def test_each_epoch_reaches_the_driver_and_the_loss_falls(run: Run) -> None:
    assert [epoch for epoch, _ in run.reported] == [0, 1, 2]
    assert [dict(m) for _, m in run.reported] == [dict(m) for m in run.trained.epochs]
    losses = [m["train_loss"] for m in run.trained.epochs]
    assert losses[-1] < losses[0] < 1


def test_the_trained_bundle_ranks_rows_it_has_not_seen(run: Run) -> None:
    evaluation = evaluate(run.examples, bundle_of(run.examples, run.trained, SPEC), run.trained.cut)
    # A tenth of 3,000 rows has no label; 15 % of the rest validate.
    assert evaluation.rows == 405
    assert 0 < evaluation.positives < evaluation.rows
    auc = evaluation.metrics["auc"]
    assert auc is not None
    assert auc > 0.85


def test_the_profile_counts_the_training_rows_only(run: Run) -> None:
    assert run.trained.profile.rows == 2295
    assert run.trained.example.num_rows == 5
    newest = run.trained.profile.columns["at"].maximum
    assert newest is not None
    assert newest < run.trained.cut.timestamp()


def test_the_same_seed_gives_the_same_weights(run: Run) -> None:
    again = train(run.examples, SPEC, name="again")
    for name, value in run.trained.weights.items():
        assert np.allclose(value, again.weights[name], atol=1e-6)


def test_a_finished_run_is_not_trained_again_under_its_name(run: Run) -> None:
    reported: list[int] = []
    again = train(run.examples, SPEC, name="one", on_epoch=lambda epoch, _: reported.append(epoch))
    assert reported == []
    assert all(np.array_equal(value, again.weights[name]) for name, value in run.trained.weights.items())


def test_two_workers_share_the_rows_and_learn_as_well(run: Run) -> None:
    trained = train(run.examples, TWO_WORKERS, name="two")
    metrics = evaluate(run.examples, bundle_of(run.examples, trained, SPEC), trained.cut).metrics
    assert metrics["auc"] is not None
    assert metrics["auc"] > 0.85


def entrypoint_spec(name: str, **parameters: str) -> TrainingSpec:
    model = {"kind": "entrypoint", "entrypoint": f"{name}:build", "parameters": parameters}
    return TrainingSpec.model_validate(
        {
            "model": {**model, "epochs": 3, "learning_rate": 0.05, "batch_size": 64},
            "workers": {"num": 1, "cpus_per_worker": 0.5},
        }
    )


def test_a_worker_that_dies_goes_on_from_its_last_checkpoint(run: Run, tmp_path: Path) -> None:
    (tmp_path / "falling.py").write_text(FALLING)
    code = CodePackage.of("falling:build", tmp_path)
    spec, flag, reported = entrypoint_spec("falling", flag=str(tmp_path / "fell")), tmp_path / "fell", []
    trained = train(run.examples, spec, name="falling", code=code, on_epoch=lambda epoch, _: reported.append(epoch))
    assert flag.exists()
    # 36 steps make an epoch, so the 100th falls in the third. The controller may not have seen the second's checkpoint
    # yet; the first's it has, because a worker reports no second time before.
    assert reported in ([0, 1, 2], [0, 1, 1, 2])
    metrics = evaluate(run.examples, bundle_of(run.examples, trained, spec, code), trained.cut).metrics
    assert metrics["auc"] is not None
    assert metrics["auc"] > 0.85


def test_a_mistake_in_the_users_model_arrives_as_itself(run: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    code = CodePackage.of("broken:build", tmp_path)
    with pytest.raises(RaypipeError, match=r"`broken:build` returned a int: return a torch\.nn\.Module"):
        train(run.examples, entrypoint_spec("broken"), name="broken", code=code, max_failures=0)


def test_rows_without_any_label_cannot_train(tmp_path: Path, ray_cluster: object) -> None:
    with pytest.raises(RaypipeError, match="ingest a longer period"):
        train(examples_in(tmp_path, labelled=False), SPEC, name="none")


def test_no_file_at_all_is_said(tmp_path: Path) -> None:
    with pytest.raises(RaypipeError, match="no training examples"):
        Examples.of(Store(StoreAddress(lake=str(tmp_path))), [], NAMES)


def test_an_evaluation_without_rows_knows_no_metric(run: Run) -> None:
    late = run.trained.cut + timedelta(days=9999)
    evaluation = evaluate(run.examples, bundle_of(run.examples, run.trained, SPEC), late)
    assert evaluation.rows == 0
    assert set(evaluation.metrics.values()) == {None}


def test_a_model_that_scores_nan_knows_no_metric(run: Run) -> None:
    bundle = bundle_of(run.examples, run.trained, SPEC)
    weights = {name: np.full_like(value, math.nan) for name, value in bundle.weights.items()}
    evaluation = evaluate(run.examples, replace(bundle, weights=weights), run.trained.cut)
    assert set(evaluation.metrics.values()) == {None}
