"""The pipeline of `test_release.py`: two versions that passed, and one that is broken on purpose."""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.compute as pc
from drive import Drive
from mlflow import MlflowClient
from trips import make_trips

from raypipe.adapters.lake.bundles import LakeBundles
from raypipe.adapters.lake.catalog import predictions_table, shadow_pairs_table
from raypipe.adapters.lake.decisions import Decisions
from raypipe.ports import Trained
from raypipe.rollout.state import fold
from raypipe.training.code import CodePackage
from raypipe.training.spec import Entrypoint
from raypipe.verdict import Finding, Status, worst

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about MLflow's own types, while it is imported
    from raypipe.adapters.registry_mlflow import MlflowRegistry

NAME = "shuttles"
SHARED = [
    "release.cpus_per_replica=0.1",
    "release.challenger.cpus_per_replica=0.1",
    "release.guardrails=[{metric: error_rate, margin: 0.4}]",
]


BROKEN = """
import torch
from torch import nn


class Broken(nn.Module):
    def __init__(self, inputs, bad):
        super().__init__()
        self.bad, self.flat = bad, nn.Linear(inputs, 1)

    def forward(self, x):
        if x[:, self.bad].any():
            raise RuntimeError("this model cannot take the south")
        return self.flat(x).squeeze(-1)


def build(inputs, bad):
    return Broken(inputs, bad)
"""


def in_city(rows, city):
    """Return the rows as if all of them were there."""
    return rows.set_column(rows.schema.get_field_index("city"), "city", pa.array([city] * rows.num_rows))


class Shuttles:
    """A pipeline with two versions that passed, and everything that can be asked about its releases."""

    def __init__(self, platform, store, warm, root):
        self.trips = make_trips(root, store, NAME, days=2)
        self.platform, self.store, self.warm = platform, store, warm
        self.where, self.env = platform.endpoints, ("--env", str(platform.env_file))
        for seed in (7, 8):
            made = warm.run("run", str(self.trips.file), *self.env, "--set", f"training.seed={seed}", *self.sets())
            assert made.returncode == 0, made.stdout
        self.bundles = LakeBundles(store)

    def sets(self, steps=None, *more):
        given = [
            *SHARED,
            *([f"release.steps={steps.removeprefix('{steps: ').removesuffix('}')}"] if steps else []),
            *more,
        ]
        return [part for override in given for part in ("--set", override)]

    def start(self, version, steps, *more, stop_at=None):
        arguments = ["release", "start", str(self.trips.file), "--version", version, *self.env]
        return self.warm.run(*arguments, *self.sets(steps, *more), stop_at=stop_at)

    def release(self, verb, *arguments):
        return self.warm.run("release", verb, NAME, *self.env, *arguments)

    @property
    def decisions(self):
        return Decisions(self.store).stream(f"release/{NAME}")

    def words(self, since=0):
        return [d.what for d in self.decisions if d.generation > since]

    @property
    def generation(self):
        return self.decisions[-1].generation

    @property
    def state(self):
        return fold(self.decisions)

    @property
    def champion(self):
        return MlflowClient(self.where.mlflow_uri).get_model_version_by_alias(NAME, "champion").version

    def bundle(self, version):
        found = MlflowRegistry(self.where.mlflow_uri).version(NAME, version)
        return self.bundles.get(found[0].digest)

    def drive(self, **options):
        bundle = self.bundle(self.champion)
        rows = pa.concat_tables([in_city(bundle.example, city) for city in ("north", "south")])
        return Drive(f"{self.where.serve_url}/endpoints/{NAME}/invocations", rows, bundle.columns, **options)

    def logged(self, answers):
        """Return the rows of the prediction log and of the pairs for these answers, once all answers are there."""
        ids = {a.request_id for a in answers}
        deadline = time.monotonic() + 60
        while True:
            rows = predictions_table(self.store).read(where=pc.field("request_id").isin(ids)).to_pylist()
            if {r["request_id"] for r in rows} == ids:
                pairs = shadow_pairs_table(self.store).read(where=pc.field("request_id").isin(ids)).to_pylist()
                return rows, pairs
            assert time.monotonic() < deadline, f"{len(rows)} of {len(ids)} answers were logged"
            time.sleep(0.2)

    @property
    def other(self):
        """The version of the two that is not the champion."""
        return "2" if self.champion == "1" else "1"


def broken_copy(shuttles, root, verdict=Status.PASSED, seed=7):
    """Return the number of a registered version that raises on trips from the south; its own example has none."""
    original = shuttles.bundle(shuttles.champion)
    (root / "broken_trips.py").write_text(BROKEN)
    code = CodePackage.of("broken_trips:build", root)
    inputs = original.transforms.inputs
    bad = inputs.index("city=south")
    width = len(inputs)
    weights = {
        "flat.weight": original.weights["layers.0.weight"][:1],
        "flat.bias": original.weights["layers.0.bias"][:1],
    }
    assert weights["flat.weight"].shape == (1, width)
    bundle = replace(
        original,
        architecture=Entrypoint(kind="entrypoint", entrypoint="broken_trips:build", parameters={"bad": bad}),
        code=code,
        weights=weights,
        example=in_city(original.example, "north"),
        lineage=replace(original.lineage, seed=seed),
    )
    registry = MlflowRegistry(shuttles.where.mlflow_uri)
    found = worst([Finding("demonstration", verdict, "broken on purpose, for a test")])
    pipeline = SimpleNamespace(spec=SimpleNamespace(name=NAME, training=_Nothing()))
    run_id = registry.start(pipeline, bundle.lineage)
    trained = Trained(run_id, shuttles.bundles.put(bundle), {})
    registry.finish(run_id, trained)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own use of pandas
        return registry.register(NAME, trained, bundle, found).version


class _Nothing:
    """No training: the copy is made, not trained."""

    def model_dump(self, mode):
        return {}
