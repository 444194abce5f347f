"""Training on a Ray cluster: split by time, fit transforms on a profile, Ray Train, evaluate on later rows.

A worker that dies is started again from the last epoch's checkpoint. Knows Ray Train; what a worker does is
`train_worker`, how rows get there is `train_rows`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data
from ray.data import ExecutionOptions
from ray.exceptions import RayError
from ray.train import (
    CheckpointConfig,
    DataConfig,
    FailureConfig,
    LoggingConfig,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
    WorkerGroupError,
)
from ray.train.torch import TorchTrainer
from ray.util.queue import Queue

from raypipe.adapters.lake.store import Store
from raypipe.adapters.lake.tables import LakeTable
from raypipe.adapters.search_ray import OnTrial, search
from raypipe.adapters.train_rows import (
    Examples,
    compare,
    cut_of,
    evaluate,
    matrices_of,
    profile_of,
)
from raypipe.adapters.train_worker import Learned, Work, train_share
from raypipe.bundle import Bundle, Lineage
from raypipe.config import Pipeline
from raypipe.errors import RaypipeError
from raypipe.features.transforms import TransformState, fit
from raypipe.profile import Profile
from raypipe.snapshot import Snapshot
from raypipe.training.code import CodePackage
from raypipe.training.search import Trial, TrialResult
from raypipe.training.spec import TrainingSpec
from raypipe.training.validation import Scored, incomparable
from raypipe.verdict import Finding

OnEpoch = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What a training gave.

    Parameters
    ----------
    cut
        Rows before it trained, rows from it on validate.
    transforms, profile
        Of the training rows.
    weights
        By name.
    epochs
        Metrics of each epoch; `train_loss` in nats.
    example
        A few training rows.
    """

    cut: datetime
    transforms: TransformState
    profile: Profile
    weights: Mapping[str, np.ndarray]
    epochs: tuple[Mapping[str, float], ...]
    example: pa.Table


class RayTrainer:
    """Trains a pipeline's model on the connected cluster.

    Parameters
    ----------
    store
        Holds the examples; checkpoints go below `checkpoints/` in its lake.
    max_failures
        How often a run goes on after a worker died.
    """

    def __init__(self, store: Store, max_failures: int = 2) -> None:
        self._store = store
        self._max_failures = max_failures

    def train(
        self, pipeline: Pipeline, examples: Snapshot, lineage: Lineage, on_epoch: OnEpoch
    ) -> tuple[Bundle, dict[str, float | None]]:
        """Return a bundle and its metrics on the validation rows.

        Raises
        ------
        RaypipeError
            When there is nothing to learn from, or training failed more often than it may.
        """
        spec = pipeline.spec
        table = LakeTable(self._store, examples.table, pa.schema([]))
        uris = [f.uri for f in table.files(examples.version)]
        rows = Examples.of(self._store, uris, spec.features.feature_names)
        trained = train(
            rows,
            spec.training,
            name=f"{spec.name}-{lineage.inputs_digest[:16]}",
            time_zone=spec.features.time_zone,
            code=pipeline.code,
            max_failures=self._max_failures,
            on_epoch=on_epoch,
        )
        bundle = Bundle(
            name=spec.name,
            columns=rows.columns,
            label=spec.label.name,
            architecture=spec.training.model,
            transforms=trained.transforms,
            profile=trained.profile,
            weights=trained.weights,
            example=trained.example,
            lineage=lineage,
            code=pipeline.code,
        )
        found = evaluate(rows, bundle, trained.cut)
        return replace(bundle, profile=bundle.profile.merge(found.scores)), dict(found.metrics)

    def search(
        self,
        pipeline: Pipeline,
        examples: Snapshot,
        trials: Sequence[Trial],
        earlier: Sequence[TrialResult],
        on_trial: OnTrial,
    ) -> tuple[TrialResult, ...]:
        """Return what each of these trials came to, compared on the latest of the training rows.

        Raises
        ------
        RaypipeError
            When there is nothing to learn from, or every trial failed.
        """
        spec = pipeline.spec
        assert spec.search is not None
        table = LakeTable(self._store, examples.table, pa.schema([]))
        uris = [f.uri for f in table.files(examples.version)]
        rows = Examples.of(self._store, uris, spec.features.feature_names)
        return search(
            rows,
            spec.training,
            spec.search,
            trials,
            earlier=earlier,
            time_zone=spec.features.time_zone,
            code=pipeline.code,
            on_trial=on_trial,
        )

    def compare(
        self, pipeline: Pipeline, examples: Snapshot, candidate: Bundle, champion: Bundle, version: str
    ) -> Scored | Finding:
        """Return both bundles' scores on the validation rows of these examples, or why they cannot be compared."""
        spec = pipeline.spec
        table = LakeTable(self._store, examples.table, pa.schema([]))
        uris = [f.uri for f in table.files(examples.version)]
        rows = Examples.of(self._store, uris, spec.features.feature_names)
        lacking = sorted({c.name for c in champion.columns} - {c.name for c in rows.columns})
        if lacking:
            return incomparable(
                f"version {version}, the champion, needs {', '.join(lacking)}, which these examples do not have: keep "
                "these features until it is replaced, or leave the comparison out with `versus_champion: null`"
            )
        cut = cut_of(rows, spec.training.split.validation)
        slices = spec.validation.slices.columns if spec.validation.slices else ()
        return compare(rows, candidate, champion, cut, version=version, slices=slices)


def train(
    examples: Examples,
    spec: TrainingSpec,
    *,
    name: str,
    time_zone: str = "UTC",
    code: CodePackage | None = None,
    max_failures: int = 2,
    on_epoch: OnEpoch | None = None,
) -> Trained:
    """Return a trained model; the same examples, spec and one worker give the same weights.

    Parameters
    ----------
    name
        Of the run. A run that was killed goes on from its last epoch under the same name.
    time_zone
        IANA name of the clock on which timestamps are read.
    on_epoch
        Called on this process with the epoch (from 0) and its metrics; after a failure an epoch may come twice.

    Raises
    ------
    RaypipeError
        When there is nothing to learn from, or training failed more than `max_failures` times.
    """
    cut = cut_of(examples, spec.split.validation)
    profile, example = profile_of(examples, cut)
    transforms = fit(profile, examples.columns, time_zone)
    matrices = matrices_of(examples, cut, transforms)
    with _relay(on_epoch) as progress:
        work = Work(spec.model, len(transforms.inputs), spec.seed, code, progress)
        learned = _fit(work, matrices, spec, _run_config(examples.store, name, max_failures))
    return Trained(cut, transforms, profile, learned.weights, learned.epochs, example)


def _fit(work: Work, matrices: ray.data.Dataset, spec: TrainingSpec, run: RunConfig) -> Learned:
    workers = spec.workers
    gpus = workers.gpus_per_worker
    resources = {"CPU": workers.cpus_per_worker, **({"GPU": gpus} if gpus else {})}
    loop: Any = train_share
    trainer = TorchTrainer(
        loop,
        train_loop_config={"work": work},
        scaling_config=ScalingConfig(num_workers=workers.num, use_gpu=gpus > 0, resources_per_worker=resources),
        run_config=run,
        datasets={"train": matrices},
        dataset_config=DataConfig(execution_options=ExecutionOptions(preserve_order=True)),
    )
    # Workers wait at each report until the controller looks; at its default of 2 s a short run mostly waits.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.1")
    try:
        result: Any = trainer.fit()
    except WorkerGroupError as error:
        raise _failure(next(iter(error.worker_failures.values()), error)) from error
    # What ends Train's own actor, as a store that goes away while it starts, comes back as Ray's error.
    except (TrainingFailedError, RayError) as error:
        raise _failure(error) from error
    learned: Learned = result.return_value
    return learned


def _failure(error: BaseException) -> RaypipeError:
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, RaypipeError):
        return cause
    said = str(cause).strip()
    if isinstance(cause, RayError):
        said = said.splitlines()[-1].strip()  # before it stands the traceback of another process
    return RaypipeError(
        f"training failed: {type(cause).__name__}: {said}: run again to go on from the last checkpoint; if it fails "
        "at the same place, the model's code or the workers' memory is the cause"
    )


def _run_config(store: Store, name: str, max_failures: int) -> RunConfig:
    filesystem, path = store.filesystem(store.lake("checkpoints"))
    # Ray's own annotations still show the configuration of Train V1.
    run_config: Any = RunConfig
    config: RunConfig = run_config(
        name=name,
        storage_path=path,
        storage_filesystem=filesystem,
        failure_config=FailureConfig(max_failures=max_failures),
        checkpoint_config=CheckpointConfig(num_to_keep=1),
        logging_config=LoggingConfig(log_level="WARNING"),
    )
    return config


@contextmanager
def _relay(on_epoch: OnEpoch | None) -> Iterator[Queue]:
    """Yield a queue whose (epoch, metrics) reach `on_epoch` while this process waits for the training."""
    queue = Queue(actor_options={"num_cpus": 0})
    with ThreadPoolExecutor(1) as pool:
        relayed = pool.submit(_pass_on, queue, on_epoch or _ignore)
        try:
            yield queue
        finally:
            queue.put(None)
    relayed.result()
    queue.shutdown()


def _pass_on(queue: Queue, on_epoch: OnEpoch) -> None:
    while (report := queue.get()) is not None:
        on_epoch(*report)


def _ignore(epoch: int, metrics: Mapping[str, float]) -> None:
    """Do nothing: nobody asked."""
