"""The labelled-broken copy of a version: the same weights in a model that raises on flights from one airport.

It loads, and it answers its own example, which has no such flight; only serving shows the fault. Its findings and its
run say that it is broken on purpose. Knows bundles and the registry; does not release anything.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pyarrow.compute as pc

from raypipe.adapters.lake.bundles import LakeBundles
from raypipe.adapters.registry_mlflow import MlflowRegistry
from raypipe.bundle import Bundle
from raypipe.config import Pipeline
from raypipe.ports import ModelVersion, Trained
from raypipe.training.code import CodePackage
from raypipe.training.spec import Entrypoint, TabularMlp
from raypipe.verdict import Finding, Status, worst


def broken_copy(original: Bundle, airport: str) -> Bundle:
    """Return the copy that raises on flights from `airport`.

    Raises
    ------
    ValueError
        When the original is not a perceptron, does not know the airport, or has no example without it.
    """
    model = original.architecture
    if not isinstance(model, TabularMlp):
        raise ValueError(f"the original is a {model.kind}: only a tabular_mlp can be copied")
    code = CodePackage.of("broken_model:build", Path(__file__).parent)
    bad = original.transforms.inputs.index(f"origin={airport}")
    example = original.example.filter(pc.not_equal(original.example.column("origin"), airport))
    if not example.num_rows:
        raise ValueError(f"every row of the original's example leaves from {airport}: choose another airport")
    parameters = {"bad": bad, "width": model.width, "depth": model.depth, "dropout": model.dropout}
    told = f"broken on purpose: errors on {airport}, copied from {original.lineage.inputs_digest}"
    return replace(
        original,
        architecture=Entrypoint(kind="entrypoint", entrypoint=code.entrypoint, parameters=parameters),
        code=code,
        weights={f"model.{name}": value for name, value in original.weights.items()},
        example=example,
        lineage=replace(original.lineage, inputs_digest=hashlib.sha256(told.encode()).hexdigest()),
    )


def register_broken(
    pipeline: Pipeline, version: ModelVersion, airport: str, bundles: LakeBundles, registry: MlflowRegistry
) -> ModelVersion:
    """Return the registered version of the broken copy of `version`; registering it again changes nothing."""
    bundle = broken_copy(bundles.get(version.digest), airport)
    label = f"broken on purpose: a copy of version {version.version} that errors on flights from {airport}"
    training = pipeline.spec.training.model_copy(update={"model": bundle.architecture})
    labelled = replace(pipeline, spec=pipeline.spec.model_copy(update={"training": training}))
    trained = registry.finished(version.name, bundle.lineage.inputs_digest)
    if trained is None:
        run_id = registry.start(labelled, bundle.lineage)
        trained = Trained(run_id, bundles.put(bundle), {})
        registry.finish(run_id, trained)
    # No gate has looked at it: that it passes is part of the demonstration, and the finding says so.
    verdict = worst([Finding("demonstration", Status.PASSED, f"{label}; no gate has judged it")])
    return registry.register(version.name, trained, bundle, verdict)
