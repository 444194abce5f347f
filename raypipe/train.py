"""Trains one candidate, or finds the one that the same inputs already gave, and judges it.

The inputs' digest covers the data versions, the contracts, the specs and the code: equal digests mean that training
again could only give the same model again, so a killed or repeated run goes on with what is finished.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

from raypipe.bundle import Lineage
from raypipe.config import Pipeline
from raypipe.errors import RaypipeError
from raypipe.ports import Backends, Trained
from raypipe.snapshot import Snapshot
from raypipe.telemetry import event
from raypipe.training.code import CodePackage
from raypipe.training.search import Trial, TrialResult, best_of, trials_of, with_parameters
from raypipe.training.spec import ModelSpec
from raypipe.training.validation import Scored, judge, not_compared
from raypipe.verdict import Finding, Verdict

# Packages whose versions can change a model's numbers.
_ENVIRONMENT = ("raypipe", "ray", "torch", "pyarrow", "polars", "numpy")
# Our own sources that shape a model; a change in one of them makes it another model.
_SHAPING = ("features", "training", "profile.py", "scoring.py")


def train_candidate(pipeline: Pipeline, snapshots: tuple[Snapshot, ...], on: Backends) -> Trained:
    """Return a finished training of these snapshots, the last of which holds the examples.

    With a `search`, its best hyperparameters are trained; with a champion and `on_retrain: reuse`, the champion's are.

    Raises
    ------
    RaypipeError
        When training fails; the tracked run is ended as failed, and running again starts anew.
    """
    name = pipeline.spec.name
    lineage = lineage_of(pipeline, snapshots)
    done = on.registry.finished(name, lineage.inputs_digest)
    if not done and (reused := _with_champions_parameters(pipeline, on)):
        pipeline, lineage = reused, lineage_of(reused, snapshots)
        done = on.registry.finished(name, lineage.inputs_digest)
    if done:
        event("train", f"found bundle {done.digest[:12]}, trained earlier on the same inputs")
        return done
    run_id = on.registry.start(pipeline, lineage)
    try:
        pipeline, trials = search_best(pipeline, snapshots[-1], lineage, run_id, on)
        trained = _train(pipeline, snapshots[-1], lineage, run_id, on)
    except RaypipeError as error:
        on.registry.fail(run_id, str(error))
        raise
    on.registry.finish(run_id, trained)
    numbers = ", ".join(f"{k} {v:.4f}" for k, v in trained.metrics.items() if v is not None)
    event("train", f"bundle {trained.digest[:12]}: {numbers} on the validation rows", **trained.metrics)
    return replace(trained, trials=trials)


def search_best(
    pipeline: Pipeline, examples: Snapshot, lineage: Lineage, run_id: str, on: Backends
) -> tuple[Pipeline, tuple[TrialResult, ...]]:
    """Return the pipeline with the best hyperparameters of its search, and every trial; without a search, itself.

    Trials that an earlier attempt finished are found in the registry and not run again.
    """
    spec = pipeline.spec
    if spec.search is None:
        return pipeline, ()
    digest, search = lineage.inputs_digest, spec.search
    earlier = {r.trial.number: r for r in on.registry.trials(spec.name, digest)}
    trials = trials_of(search, spec.training.seed)
    if earlier:
        event("search", f"found {len(earlier)} of {len(trials)} trials, run earlier on the same inputs")
    epochs: dict[int, list[Mapping[str, float]]] = {}
    best: tuple[float, int] | None = None

    def on_trial(trial: Trial, epoch: int, metrics: Mapping[str, float]) -> None:
        nonlocal best
        epochs.setdefault(trial.number, []).append(metrics)
        total = with_parameters(spec.training.model, trial.parameters).epochs
        score = metrics.get(search.metric, float("nan"))
        if best is None or (score > best[0]) == (search.better == "max"):
            best = score, trial.number
        event(
            "search",
            f"trial {trial.number} of {len(trials)}: {search.metric} {score:.4f} after epoch {epoch + 1} of {total}, "
            f"best {best[0]:.4f} (trial {best[1]})",
            trial=trial.number,
            **metrics,
        )
        if epoch + 1 == total:
            result = TrialResult(trial, "finished", tuple(epochs[trial.number]))
            earlier[trial.number] = result
            on.registry.record_trial(run_id, digest, result)

    missing = [t for t in trials if t.number not in earlier]
    known = tuple(earlier.values())
    for result in on.trainer.search(pipeline, examples, missing, known, on_trial) if missing else ():
        if result.trial.number not in earlier:
            earlier[result.trial.number] = result
            on.registry.record_trial(run_id, digest, result)
    results = tuple(earlier[t.number] for t in trials)
    winner = best_of(results, search)
    if winner is None:
        raise RaypipeError(
            f"none of {len(results)} trials finished within the budget: give `search.budget` more time, or fewer epochs"
        )
    told = ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in winner.trial.parameters.items())
    event("search", f"trial {winner.trial.number} is the best of {len(results)}: {told}")
    return _with_model(pipeline, with_parameters(spec.training.model, winner.trial.parameters)), results


def _with_champions_parameters(pipeline: Pipeline, on: Backends) -> Pipeline | None:
    """Return the pipeline with the champion's hyperparameters and without a search, where it says so."""
    spec = pipeline.spec
    if spec.search is None or spec.search.on_retrain != "reuse":
        return None
    champion = on.registry.champion(spec.name)
    if champion is None:
        return None
    model = on.bundles.get(champion.digest).architecture
    if model.kind != spec.training.model.kind:
        event("search", f"version {champion.version} is a {model.kind}, the file says {spec.training.model.kind}: anew")
        return None
    event("search", f"reusing the hyperparameters of version {champion.version}")
    return _with_model(pipeline, model)


def _with_model(pipeline: Pipeline, model: ModelSpec) -> Pipeline:
    training = pipeline.spec.training.model_copy(update={"model": model})
    return replace(pipeline, spec=pipeline.spec.model_copy(update={"training": training, "search": None}))


def _train(pipeline: Pipeline, examples: Snapshot, lineage: Lineage, run_id: str, on: Backends) -> Trained:
    epochs = pipeline.spec.training.model.epochs

    def on_epoch(epoch: int, metrics: Mapping[str, float]) -> None:
        numbers = ", ".join(f"{k} {v:.4f}" for k, v in metrics.items())
        event("train", f"epoch {epoch + 1} of {epochs}: {numbers}", epoch=epoch, **metrics)
        on.registry.report(run_id, epoch, metrics)

    bundle, metrics = on.trainer.train(pipeline, examples, lineage, on_epoch)
    return Trained(run_id, on.bundles.put(bundle), metrics)


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
    specs = pipeline.spec.model_dump(mode="json", by_alias=True, include={"features", "label", "training", "search"})
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
