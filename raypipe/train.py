"""Trains one candidate, or finds the one that the same inputs already gave, and judges it.

The inputs' digest covers the data versions, the contracts, the specs and the code: equal digests mean that training
again could only give the same model again, so a killed or repeated run goes on with what is finished.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from raypipe.bundle import Lineage
from raypipe.config import Pipeline
from raypipe.errors import RaypipeError
from raypipe.ports import Backends, Trained
from raypipe.snapshot import Snapshot
from raypipe.telemetry import event
from raypipe.training.code import CodePackage
from raypipe.training.validation import Scored, judge, not_compared
from raypipe.verdict import Finding, Verdict

# Packages whose versions can change a model's numbers.
_ENVIRONMENT = ("raypipe", "ray", "torch", "pyarrow", "polars", "numpy")
# Our own sources that shape a model; a change in one of them makes it another model.
_SHAPING = ("features", "training", "profile.py", "scoring.py")


def train_candidate(pipeline: Pipeline, snapshots: tuple[Snapshot, ...], on: Backends) -> Trained:
    """Return a finished training of these snapshots, the last of which holds the examples.

    Raises
    ------
    RaypipeError
        When training fails; the tracked run is ended as failed, and running again starts anew.
    """
    name = pipeline.spec.name
    lineage = lineage_of(pipeline, snapshots)
    if done := on.registry.finished(name, lineage.inputs_digest):
        event("train", f"found bundle {done.digest[:12]}, trained earlier on the same inputs")
        return done
    run_id = on.registry.start(pipeline, lineage)
    epochs = pipeline.spec.training.model.epochs

    def on_epoch(epoch: int, metrics: Mapping[str, float]) -> None:
        numbers = ", ".join(f"{k} {v:.4f}" for k, v in metrics.items())
        event("train", f"epoch {epoch + 1} of {epochs}: {numbers}", epoch=epoch, **metrics)
        on.registry.report(run_id, epoch, metrics)

    try:
        bundle, metrics = on.trainer.train(pipeline, snapshots[-1], lineage, on_epoch)
    except RaypipeError as error:
        on.registry.fail(run_id, str(error))
        raise
    trained = Trained(run_id, on.bundles.put(bundle), metrics)
    on.registry.finish(run_id, trained)
    numbers = ", ".join(f"{k} {v:.4f}" for k, v in metrics.items() if v is not None)
    event("train", f"bundle {trained.digest[:12]}: {numbers} on the validation rows", **metrics)
    return trained


def validate(pipeline: Pipeline, examples: Snapshot, trained: Trained, on: Backends) -> Verdict:
    """Return the judgement on a candidate: the file's limits, and the champion scored again on the same rows."""
    spec = pipeline.spec
    champion = on.registry.champion(spec.name) if spec.validation.versus_champion else None
    against: Scored | Finding = not_compared("there is no champion to compare with: absolute limits alone decide")
    if champion and champion.digest == trained.digest:
        against = not_compared(f"it is the champion, version {champion.version}, itself")
    elif champion:
        event("validate", f"scoring the candidate and version {champion.version} on the same rows")
        bundles = on.bundles.get(trained.digest), on.bundles.get(champion.digest)
        against = on.trainer.compare(pipeline, examples, *bundles, champion.version)
    verdict = judge(trained.metrics, spec.validation, against)
    for finding in verdict.findings:
        event("validate", f"{finding.status}: {finding.message}", rule=finding.rule, observed=finding.observed)
    return verdict


def lineage_of(pipeline: Pipeline, snapshots: tuple[Snapshot, ...]) -> Lineage:
    """Return what a model trained now would come from."""
    contracts = tuple((n, c.version, c.digest) for n, c in sorted(pipeline.contracts.items()))
    code = _code_digest(pipeline.code)
    seed = pipeline.spec.training.seed
    specs = pipeline.spec.model_dump(mode="json", by_alias=True, include={"features", "label", "training"})
    inputs = [[asdict(s) for s in snapshots], contracts, code, seed, specs]
    return Lineage(
        snapshots=snapshots,
        contracts=contracts,
        code_digest=code,
        config_digest=pipeline.digest,
        inputs_digest=hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest(),
        seed=seed,
        environment=tuple((package, version(package)) for package in _ENVIRONMENT),
    )


def _code_digest(entrypoint: CodePackage | None) -> str:
    """Return sha256 over our own sources that shape a model, and over the user's entrypoint."""
    root = Path(__file__).parent
    named = [root / name for name in _SHAPING]
    paths = sorted(p for n in named for p in (n.rglob("*.py") if n.is_dir() else [n]))
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    if entrypoint:
        digest.update(entrypoint.digest.encode())
    return digest.hexdigest()
