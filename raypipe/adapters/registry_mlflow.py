"""MLflow as the registry: a tracked run for each training, a version for each bundle, an alias for the champion.

A run is found again by its inputs' digest and a version by its bundle's digest, so doing anything twice changes
nothing. The model is an MLflow pyfunc whose data is the bundle: safetensors and JSON, no pickle.
"""

from __future__ import annotations

import json
import logging
import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version as installed
from pathlib import Path

import mlflow
import mlflow.pyfunc
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from raypipe.adapters.mlflow_model import example, signature
from raypipe.adapters.mlflow_trial import from_tag, to_tag
from raypipe.boundary import boundary
from raypipe.bundle import Bundle, Lineage, pack
from raypipe.config import Pipeline
from raypipe.errors import Unavailable
from raypipe.ports import ModelVersion, Trained
from raypipe.training.search import TrialResult
from raypipe.verdict import Status, Verdict

INPUTS, BUNDLE, VERDICT = "raypipe.inputs_digest", "raypipe.bundle", "raypipe.verdict"
FINDINGS = "raypipe.findings"
SEARCH, TRIAL, PARENT = "raypipe.search", "raypipe.trial", "mlflow.parentRunId"
# MLflow takes no longer tag.
_TAG_LENGTH = 5000
# Nor more metrics at once.
_BATCH_METRICS = 1000
CHAMPION = "champion"


class MlflowRegistry:
    """Runs and versions of one MLflow server.

    Parameters
    ----------
    uri
        Tracking URI; the registry is the same server.

    Raises
    ------
    Unavailable
        From every method, when the server does not answer.
    """

    def __init__(self, uri: str) -> None:
        # Seven retries with backoff, MLflow's default, take minutes to say that nobody is there.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        mlflow.set_tracking_uri(uri)
        self._uri = uri
        self._client = MlflowClient(uri, uri)

    def finished(self, name: str, inputs_digest: str) -> Trained | None:
        """Return the finished training of these inputs, if there is one."""
        with self._translated():
            experiment = self._client.get_experiment_by_name(name)
            if experiment is None:
                return None
            runs = self._client.search_runs(
                [experiment.experiment_id],
                # Not by status: a run that is killed while its model is logged again is left RUNNING.
                f"tags.`{INPUTS}` = '{inputs_digest}' and tags.`{BUNDLE}` != ''",
                order_by=["attributes.start_time ASC"],
                max_results=1,
            )
        if not runs:
            return None
        run = runs[0]
        metrics = json.loads(run.data.tags["raypipe.metrics"])
        return Trained(run.info.run_id, run.data.tags[BUNDLE], metrics)

    def start(self, pipeline: Pipeline, lineage: Lineage) -> str:
        """Start a tracked run that names its data versions, contracts, code, seed and environment; return its id."""
        training = pipeline.spec.training.model_dump(mode="json")
        params = [Param(k, str(v)[:500]) for k, v in _flat("training", training)]
        tags = {
            INPUTS: lineage.inputs_digest,
            "raypipe.config_digest": lineage.config_digest,
            "raypipe.code_digest": lineage.code_digest,
            **{f"raypipe.data.{s.table}": f"version {s.version}, digest {s.digest}" for s in lineage.snapshots},
            **{f"raypipe.contract.{n}": f"{v}, digest {d}" for n, v, d in lineage.contracts},
            **{f"raypipe.environment.{n}": v for n, v in lineage.environment},
        }
        with self._translated():
            experiment = self._client.get_experiment_by_name(pipeline.spec.name)
            number = experiment.experiment_id if experiment else self._client.create_experiment(pipeline.spec.name)
            run = self._client.create_run(number, run_name=f"train {lineage.inputs_digest[:8]}")
            run_id: str = run.info.run_id
            self._client.log_batch(run_id, params=params, tags=[RunTag(k, v[:5000]) for k, v in tags.items()])
        return run_id

    def report(self, run_id: str, step: int, metrics: Mapping[str, float]) -> None:
        """Record metrics of one epoch."""
        now = int(time.time() * 1000)
        with self._translated():
            self._client.log_batch(run_id, [Metric(k, v, now, step) for k, v in metrics.items()])

    def finish(self, run_id: str, trained: Trained) -> None:
        """Record the validation metrics and the bundle's digest, and end the run."""
        now = int(time.time() * 1000)
        known = [
            Metric(f"validation_{k}", v, now, 0)
            for k, v in trained.metrics.items()
            if v is not None and math.isfinite(v)
        ]
        tags = [RunTag(BUNDLE, trained.digest), RunTag("raypipe.metrics", json.dumps(dict(trained.metrics)))]
        with boundary("finish run"), self._translated():
            self._client.log_batch(run_id, metrics=known, tags=tags)
            self._client.set_terminated(run_id)

    def trials(self, name: str, inputs_digest: str) -> tuple[TrialResult, ...]:
        """Return the trials of these inputs that have ended, by number; of their epochs only the last has metrics.

        One whose tag cannot be read has not run.
        """
        with self._translated():
            experiment = self._client.get_experiment_by_name(name)
            if experiment is None:
                return ()
            runs = self._client.search_runs(
                [experiment.experiment_id], f"tags.`{SEARCH}` = '{inputs_digest}' and tags.`{TRIAL}` != ''"
            )
        found = {}
        for run in runs:
            if result := from_tag(run.data.tags[TRIAL]):
                found[result.trial.number] = result
        return tuple(found[number] for number in sorted(found))

    def record_trial(self, run_id: str, inputs_digest: str, result: TrialResult) -> None:
        """Record a trial that has ended, as a run inside `run_id`, in one step."""
        now = int(time.time() * 1000)
        trial = result.trial
        tags = {PARENT: run_id, SEARCH: inputs_digest, TRIAL: to_tag(result)}
        metrics = [Metric(k, v, now, step) for step, e in enumerate(result.epochs) for k, v in e.items()]
        params = [Param(f"training.model.{k}", str(v)) for k, v in trial.parameters.items()]
        with boundary("record trial"), self._translated():
            experiment_id = self._client.get_run(run_id).info.experiment_id
            run = self._client.create_run(experiment_id, run_name=f"trial {trial.number}")
            # The tag that says what the trial came to is written last: without it, it is tried again.
            self._client.log_batch(run.info.run_id, params=params)
            for start in range(0, len(metrics), _BATCH_METRICS):
                self._client.log_batch(run.info.run_id, metrics[start : start + _BATCH_METRICS])
            self._client.log_batch(run.info.run_id, tags=[RunTag(k, v) for k, v in tags.items()])
            self._client.set_terminated(run.info.run_id, "FAILED" if result.outcome == "failed" else "FINISHED")

    def link_reports(self, run_id: str, reports: Mapping[str, str]) -> None:
        """Tag a run with the place of each source's quality report; an empty place is left out."""
        tags = [RunTag(f"raypipe.report.{source}", place) for source, place in reports.items() if place]
        with self._translated():
            self._client.log_batch(run_id, tags=tags)

    def fail(self, run_id: str, reason: str) -> None:
        """End the run as failed."""
        with self._translated():
            self._client.set_tag(run_id, "raypipe.failure", reason[:5000])
            self._client.set_terminated(run_id, "FAILED")

    def register(self, name: str, trained: Trained, bundle: Bundle, verdict: Verdict) -> ModelVersion:
        """Return the version of this bundle, registered with its verdict; the same bundle is one version."""
        tags = {BUNDLE: trained.digest, VERDICT: str(verdict.status), FINDINGS: _worst_first(verdict)}
        with self._translated():
            if found := self._version(name, trained.digest):
                for key in (VERDICT, FINDINGS):
                    self._client.set_model_version_tag(name, found.version, key, tags[key])
                return found
            model_id = self._logged(trained.run_id) or self._log_model(trained.run_id, bundle)
            if not self._client.search_registered_models(f"name = '{name}'"):
                self._client.create_registered_model(name)
            with boundary("register version"):
                made = self._client.create_model_version(
                    name, f"models:/{model_id}", run_id=trained.run_id, tags=tags, model_id=model_id
                )
        return ModelVersion(name, str(made.version), trained.digest)

    def version(self, name: str, number: str | None = None) -> tuple[ModelVersion, Status] | None:
        """Return a registered version, the newest by default, and its verdict; None when there is no such version."""
        with self._translated():
            found = {int(v.version): v for v in self._client.search_model_versions(f"name = '{name}'")}
        if not found or (number is not None and not (number.isdecimal() and int(number) in found)):
            return None
        chosen = found[int(number) if number is not None else max(found)]
        return ModelVersion(name, str(chosen.version), chosen.tags[BUNDLE]), Status(chosen.tags[VERDICT])

    def versions(self) -> tuple[ModelVersion, ...]:
        """Return every registered version of every model that has a bundle; one that was deleted is none."""
        found: list[ModelVersion] = []
        token = None
        while token != "":
            with self._translated():
                page = self._client.search_model_versions(page_token=token)
            found += [ModelVersion(v.name, str(v.version), v.tags[BUNDLE]) for v in page if BUNDLE in v.tags]
            token = page.token or ""
        return tuple(found)

    def findings(self, name: str, number: str) -> Sequence[Mapping[str, object]]:
        """Return the findings of a version's verdict, the worst first."""
        with self._translated():
            kept: str = self._client.get_model_version(name, number).tags.get(FINDINGS, "[]")
        found: list[Mapping[str, object]] = json.loads(kept)
        return found

    def run_of(self, name: str, number: str) -> str:
        """Return the id of the tracked run that a version came from; empty where MLflow does not know."""
        with self._translated():
            return self._client.get_model_version(name, number).run_id or ""

    def metrics(self, name: str, number: str) -> Mapping[str, float | None]:
        """Return what a version reached on its validation rows; empty where its run does not say."""
        with self._translated():
            run_id = self._client.get_model_version(name, number).run_id
            kept: str = self._client.get_run(run_id).data.tags.get("raypipe.metrics", "{}") if run_id else "{}"
        found: dict[str, float | None] = json.loads(kept)
        return found

    def champion(self, name: str) -> ModelVersion | None:
        """Return the version that the alias `champion` names."""
        with self._translated():
            models = self._client.search_registered_models(f"name = '{name}'")
            number = models[0].aliases.get(CHAMPION) if models else None
            if number is None:
                return None
            found = self._client.get_model_version(name, number)
        return ModelVersion(name, str(found.version), found.tags[BUNDLE])

    def set_champion(self, name: str, version: str) -> None:
        """Let the alias `champion` name this version."""
        champion = self.champion(name)
        if champion and champion.version == version:
            return
        with boundary(f"set champion: {name} {version}"), self._translated():
            self._client.set_registered_model_alias(name, CHAMPION, version)

    def _version(self, name: str, digest: str) -> ModelVersion | None:
        found = self._client.search_model_versions(f"name = '{name}' and tags.`{BUNDLE}` = '{digest}'")
        return ModelVersion(name, str(found[0].version), digest) if found else None

    def _logged(self, run_id: str) -> str | None:
        """Return the id of the run's model, where an earlier attempt has logged it whole."""
        outputs = self._client.get_run(run_id).outputs
        for output in outputs.model_outputs if outputs else ():
            model = self._client.get_logged_model(output.model_id)
            if model.status == LoggedModelStatus.READY:
                return str(model.model_id)
        return None

    def _log_model(self, run_id: str, bundle: Bundle) -> str:
        with tempfile.TemporaryDirectory() as directory:
            root = Path(directory) / "bundle"
            for path, data in pack(bundle).items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_bytes(data)
            with boundary("log model"), mlflow.start_run(run_id=run_id):
                # Entering a finished run reopens it; leaving it ends it again as FINISHED.
                model = mlflow.pyfunc.log_model(
                    name="model",
                    loader_module="raypipe.adapters.pyfunc",
                    data_path=str(root),
                    signature=signature(bundle),
                    input_example=example(bundle),
                    pip_requirements=[f"raypipe=={installed('raypipe')}"],
                )
        return str(model.model_id)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except MlflowException as error:
            raise Unavailable(
                f"MLflow at {self._uri} failed: {str(error)[:300]}: is it running? Locally, `raypipe up` starts it; "
                "nothing was lost, run again",
                system="mlflow",
                address=self._uri,
            ) from error


def _worst_first(verdict: Verdict) -> str:
    """Return the findings as JSON that fits a tag: the worst first, and as many as there is room for."""
    ranked = [asdict(f) for f in sorted(verdict.findings, key=lambda f: -f.status.rank)]
    while len(text := json.dumps(ranked)) > _TAG_LENGTH:
        ranked.pop()
    return text


def _flat(prefix: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}", inner)
    else:
        yield prefix, value
