"""A hyperparameter search on a Ray cluster: Ray Tune decides which trials go on, each trains with Ray Train.

Trials share one set of matrices in the object store, and train by the very loop that trains candidates. They are
compared on the latest training rows, held out: the validation rows are for the gate alone.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import ray
import ray.data
from ray import tune
from ray.train import DataConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.tune.schedulers import ASHAScheduler
from ray.util.queue import Empty, Queue

from raypipe.adapters.lake.store import Store
from raypipe.adapters.train_rows import Examples, cut_of, held_out_of, matrices_of, profile_of
from raypipe.adapters.train_worker import Work, train_share
from raypipe.errors import RaypipeError
from raypipe.features.transforms import fit
from raypipe.training.code import CodePackage
from raypipe.training.search import SearchSpec, Trial, TrialResult, possible_of, with_parameters
from raypipe.training.spec import TrainingSpec

OnTrial = Callable[[Trial, int, Mapping[str, float]], None]
# What a trial itself needs beside its workers: it only waits for them.
_TRIAL_CPUS = 0.1


@dataclass(frozen=True, slots=True)
class Named:
    """Where a trial's reports go: to whoever follows the search, with the trial, and to Tune."""

    queue: Queue
    trial: Trial
    to_tune: Queue

    def put(self, report: tuple[int, Mapping[str, float]]) -> None:
        """Pass on (epoch, metrics); fails once Tune has ended the trial."""
        self.to_tune.put(report)
        self.queue.put((self.trial, *report))


def search(
    rows: Examples,
    training: TrainingSpec,
    spec: SearchSpec,
    trials: Sequence[Trial],
    *,
    earlier: Sequence[TrialResult] = (),
    time_zone: str = "UTC",
    code: CodePackage | None = None,
    on_trial: OnTrial,
) -> tuple[TrialResult, ...]:
    """Return what each trial came to, compared on the latest of the training rows.

    Parameters
    ----------
    earlier
        What an earlier attempt's trials came to: a sampler that learns knows them.
    on_trial
        Hears of each trial's epochs (from 0) and their metrics while the search runs.

    Raises
    ------
    RaypipeError
        When there is nothing to learn from, or every trial failed.
    """
    outer = cut_of(rows, training.split.validation)
    inner = cut_of(rows, spec.hold_out, before=outer)
    profile, _ = profile_of(rows, inner)
    transforms = fit(profile, rows.columns, time_zone)
    matrices = matrices_of(rows, inner, transforms)
    held_out = ray.put(held_out_of(rows, inner, outer, transforms))
    found = Reports(on_trial)
    queue = Queue(actor_options={"num_cpus": 0})
    work = Work(training.model, len(transforms.inputs), training.seed, code, queue, held_out)
    with ThreadPoolExecutor(1) as pool:
        listening = pool.submit(found.listen, queue)
        try:
            ended = _run_trials(trials, earlier, spec, training, work, matrices, rows.store, queue)
        finally:
            queue.put(None)
    listening.result()
    queue.shutdown()
    return _results(trials, training, found.by_number, ended)


def _run_trials(
    trials: Sequence[Trial],
    earlier: Sequence[TrialResult],
    spec: SearchSpec,
    training: TrainingSpec,
    work: Work,
    matrices: ray.data.Dataset,
    store: Store,
    reports: Queue,
) -> dict[int, tuple[Trial, str | None]]:
    """Return trials that Tune began, by number, and why they failed; they have reported (trial, epoch, metrics)."""
    filesystem, path = store.filesystem(store.lake("checkpoints"))
    options = {"work": work, "training": training, "matrices": matrices, "reports": reports}
    space, sampler = _sampler(trials, earlier, spec, training.seed)
    # Workers wait at each report until the controller looks; at its default of 2 s a short trial mostly waits.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.1")
    # Progress is told by raypipe's own events; the newer output prints its own in spite of `verbose=0`.
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    trainable = tune.with_resources(tune.with_parameters(_TrainedTrial, **options), {"CPU": _TRIAL_CPUS})
    tuner = tune.Tuner(
        trainable,
        param_space=space,
        tune_config=tune.TuneConfig(
            metric=spec.metric,
            mode=spec.better,
            scheduler=_scheduler(spec, training),
            search_alg=sampler,
            num_samples=len(trials) if sampler else 1,
            max_concurrent_trials=spec.concurrent,
            reuse_actors=True,
            time_budget_s=spec.budget.total_seconds(),
        ),
        run_config=tune.RunConfig(
            name=f"search-{time.time_ns()}",
            storage_path=path,
            storage_filesystem=filesystem,
            verbose=0,
            # A trial that has ended is in the registry; one that has not is run again.
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    grid: Any = tuner.fit()
    begun = [(Trial(**r.config["trial"]), r.error) for r in grid if r.config]
    return {trial.number: (trial, str(error) if error else None) for trial, error in begun}


def _sampler(trials: Sequence[Trial], earlier: Sequence[TrialResult], spec: SearchSpec, seed: int) -> tuple[Any, Any]:
    """Return Tune's space and search algorithm; None is its own, which tries all that the space lists."""
    if spec.sampler == "random":
        listed = [{"number": t.number, "parameters": dict(t.parameters)} for t in trials]
        return {"trial": tune.grid_search(listed)}, None
    from raypipe.adapters.search_optuna import Proposals  # noqa: PLC0415 an extra

    return {}, Proposals(spec, seed, trials, earlier)


def _scheduler(spec: SearchSpec, training: TrainingSpec) -> ASHAScheduler | None:
    """Return what stops hopeless trials; None is Tune's own first-in, first-out."""
    if spec.scheduler == "none":
        return None
    epochs = max(with_parameters(training.model, t.parameters).epochs for t in possible_of(spec, training.seed))
    return ASHAScheduler(max_t=max(2, epochs), grace_period=max(1, epochs // 4), reduction_factor=3)


def _results(
    trials: Sequence[Trial],
    training: TrainingSpec,
    reported: Mapping[int, Sequence[Mapping[str, float]]],
    ended: Mapping[int, tuple[Trial, str | None]],
) -> tuple[TrialResult, ...]:
    # Tune does not know a trial that the budget ended before it began.
    known = [ended.get(t.number, (t, None)) for t in trials]
    results = tuple(_result(t, training, reported.get(t.number, ()), error) for t, error in known)
    if results and all(r.outcome == "failed" for r in results):
        raise RaypipeError(
            f"all {len(results)} trials of the search failed, the first with: {results[0].reason[-500:]}: correct "
            "`search.space` or the model's code, or give `search.budget` more time"
        )
    return results


class _TrainedTrial(tune.Trainable):
    """One trial at a time: a trainer in a thread, whose epochs are Tune's steps.

    Tune ends a trial between two steps without a word to its trainer. A trainer that is killed leaves what it had
    reserved to a helper of Ray Train, which needs a dashboard that it can find; so it is ended here, from within.
    """

    def setup(self, config: dict[str, Any], **given: Any) -> None:
        """Begin the trial that `config` holds, with what is the same for all."""
        self._given = given
        self._begin(config)

    def step(self) -> dict[str, Any]:
        """Return the next epoch's metrics; the last says so."""
        while True:
            ended = not self._thread.is_alive()
            try:
                epoch, metrics = self._queue.get(timeout=0.1 if ended else 1.0)
            except Empty:
                if self._error:
                    raise self._error from None
                if ended:
                    return {"done": True}
                continue
            return {**metrics, "done": epoch + 1 >= self._epochs}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another trial in this process."""
        self.cleanup()
        self._begin(new_config)
        return True

    def cleanup(self) -> None:
        """End the trainer: its next report fails, and it gives back what it had reserved."""
        self._queue.shutdown(force=True)
        self._thread.join()

    def _begin(self, config: dict[str, Any]) -> None:
        trial, work, training = Trial(**config["trial"]), self._given["work"], self._given["training"]
        model = with_parameters(training.model, trial.parameters)
        self._queue = Queue(actor_options={"num_cpus": 0})
        self._error: Exception | None = None
        self._epochs = model.epochs
        work = replace(work, model=model, progress=Named(self._given["reports"], trial, self._queue))
        name = f"trial-{trial.number}-{time.time_ns()}"
        trainer = _trainer(work, training, self._given["matrices"], name, str(self.logdir))
        self._thread = threading.Thread(target=self._fit, args=(trainer,), daemon=True)
        self._thread.start()

    def _fit(self, trainer: TorchTrainer) -> None:
        try:
            trainer.fit()
        except Exception as error:  # noqa: BLE001 of the user's model too: told to Tune by `step`
            self._error = error


def _trainer(work: Work, training: TrainingSpec, matrices: ray.data.Dataset, name: str, storage: str) -> TorchTrainer:
    workers = training.workers
    gpus = workers.gpus_per_worker
    resources = {"CPU": workers.cpus_per_worker, **({"GPU": gpus} if gpus else {})}
    loop: Any = train_share
    run_config: Any = RunConfig
    return TorchTrainer(
        loop,
        train_loop_config={"work": work},
        scaling_config=ScalingConfig(num_workers=workers.num, use_gpu=gpus > 0, resources_per_worker=resources),
        run_config=run_config(name=name, storage_path=storage, logging_config=LoggingConfig(log_level="WARNING")),
        datasets={"train": matrices},
        dataset_config=DataConfig(execution_options=ray.data.ExecutionOptions(preserve_order=True)),
    )


def _result(
    trial: Trial, training: TrainingSpec, reported: Sequence[Mapping[str, float]], error: str | None
) -> TrialResult:
    if error is not None:
        return TrialResult(trial, "failed", tuple(reported), error.strip().splitlines()[-1])
    if not reported:
        return TrialResult(trial, "failed", (), "it reported nothing before the search's budget ended")
    epochs = with_parameters(training.model, trial.parameters).epochs
    return TrialResult(trial, "finished" if len(reported) >= epochs else "stopped", tuple(reported))


class Reports:
    """What trials have reported, in order of epochs, and passed on to whoever listens."""

    def __init__(self, on_trial: OnTrial) -> None:
        self.by_number: dict[int, list[Mapping[str, float]]] = defaultdict(list)
        self._on_trial = on_trial

    def listen(self, queue: Queue) -> None:
        """Take reports until None comes."""
        while (report := queue.get()) is not None:
            trial, epoch, metrics = report
            # An epoch comes twice when its worker died and was started again.
            del self.by_number[trial.number][epoch:]
            self.by_number[trial.number].append(metrics)
            self._on_trial(trial, epoch, metrics)
