"""What the flows need from the world, in our own words. Adapters fulfil it; tests may fulfil it with values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from raypipe.bundle import Bundle, Lineage
from raypipe.config import Pipeline
from raypipe.contracts.backfill import Backfill
from raypipe.contracts.gate import GateEvidence
from raypipe.contracts.halt import Resolution
from raypipe.decision import Decision
from raypipe.drift.decide import Live
from raypipe.rollout.standing import Observed
from raypipe.rollout.state import Target
from raypipe.snapshot import Snapshot
from raypipe.training.search import Trial, TrialResult
from raypipe.training.validation import Scored
from raypipe.verdict import Finding, Status, Verdict


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of one source in this run.

    Parameters
    ----------
    source
        Its name in the pipeline file.
    snapshot
        The version of its table that the run goes on with.
    verdict
        The gate's judgement; NOT_APPLICABLE when nothing new had landed.
    evidence
        The counts that it was judged on.
    report
        Where the page about its newest generation is; empty where there is none.
    """

    source: str
    snapshot: Snapshot
    verdict: Verdict
    evidence: GateEvidence
    report: str = ""


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training: its bundle in the store and how it did on the validation rows.

    Parameters
    ----------
    run_id
        The tracked run in the registry.
    digest
        sha256 of the bundle; also its name in the store.
    metrics
        Metrics on the validation rows; None where one could not be computed.
    trials
        What the search before it came to; empty where there was none in this run.
    """

    run_id: str
    digest: str
    metrics: Mapping[str, float | None]
    trials: tuple[TrialResult, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A registered version of a model."""

    name: str
    version: str
    digest: str


class Ingestor(Protocol):
    """Brings what has landed into the lake."""

    def ingest(self, pipeline: Pipeline, resolution: Resolution | None = None) -> dict[str, Ingested]:
        """Return what became of each source, by name; first, a halted manifest is let in or skipped by `resolution`."""

    def backfill(self, pipeline: Pipeline, asked: Backfill) -> dict[str, Ingested]:
        """Return what became of the source whose days were replaced."""


class FeatureBuilder(Protocol):
    """Builds point-in-time correct examples."""

    def build(self, pipeline: Pipeline, snapshots: Mapping[str, Snapshot]) -> Snapshot:
        """Return the examples table's version that these snapshots and this spec give."""


class Trainer(Protocol):
    """Trains on the cluster."""

    def train(
        self,
        pipeline: Pipeline,
        examples: Snapshot,
        lineage: Lineage,
        on_epoch: Callable[[int, Mapping[str, float]], None],
    ) -> tuple[Bundle, dict[str, float | None]]:
        """Return a bundle and its metrics on the validation rows."""

    def search(
        self,
        pipeline: Pipeline,
        examples: Snapshot,
        trials: Sequence[Trial],
        earlier: Sequence[TrialResult],
        on_trial: Callable[[Trial, int, Mapping[str, float]], None],
    ) -> tuple[TrialResult, ...]:
        """Return what each of these trials came to; `on_trial` hears of each epoch (from 0).

        A sampler that learns gives them their parameters, and learns from what an `earlier` attempt's came to.
        """

    def compare(
        self, pipeline: Pipeline, examples: Snapshot, candidate: Bundle, champion: Bundle, version: str
    ) -> Scored | Finding:
        """Return both bundles' scores on the validation rows of these examples, or why they cannot be compared."""


class Bundles(Protocol):
    """Bundles in the store, by digest."""

    def put(self, bundle: Bundle) -> str:
        """Store a bundle and return its digest."""

    def get(self, digest: str) -> Bundle:
        """Return a bundle, verified."""


class Registry(Protocol):
    """Runs, versions and the champion."""

    def finished(self, name: str, inputs_digest: str) -> Trained | None:
        """Return the finished training of these inputs, if there is one."""

    def start(self, pipeline: Pipeline, lineage: Lineage) -> str:
        """Start a tracked run and return its id."""

    def report(self, run_id: str, step: int, metrics: Mapping[str, float]) -> None:
        """Record metrics of one epoch."""

    def finish(self, run_id: str, trained: Trained) -> None:
        """Record the result and end the run."""

    def trials(self, name: str, inputs_digest: str) -> tuple[TrialResult, ...]:
        """Return the trials of these inputs that have ended."""

    def record_trial(self, run_id: str, inputs_digest: str, result: TrialResult) -> None:
        """Record a trial that has ended, as a run inside `run_id`."""

    def link_reports(self, run_id: str, reports: Mapping[str, str]) -> None:
        """Note where the quality report of each source is that a run learned from; an empty place is left out."""

    def fail(self, run_id: str, reason: str) -> None:
        """End the run as failed."""

    def register(self, name: str, trained: Trained, bundle: Bundle, verdict: Verdict) -> ModelVersion:
        """Return the version of this bundle, registered with its verdict; the same bundle is one version."""

    def version(self, name: str, number: str | None = None) -> tuple[ModelVersion, Status] | None:
        """Return a registered version, the newest by default, and its verdict; None when there is no such version."""

    def versions(self) -> tuple[ModelVersion, ...]:
        """Return every registered version of every model."""

    def findings(self, name: str, number: str) -> Sequence[Mapping[str, object]]:
        """Return the findings of a version's verdict, the worst first."""

    def run_of(self, name: str, number: str) -> str:
        """Return the id of the tracked run that a version came from."""

    def metrics(self, name: str, number: str) -> Mapping[str, float | None]:
        """Return what a version reached on its validation rows."""

    def champion(self, name: str) -> ModelVersion | None:
        """Return the version that the alias `champion` names."""

    def set_champion(self, name: str, version: str) -> None:
        """Let the alias `champion` name this version."""


class Traffic(Protocol):
    """The serving endpoint."""

    def apply(self, name: str, target: Target) -> None:
        """Order this traffic for a model; ordering it again changes nothing.

        Raises
        ------
        GenerationMoved
            When the endpoint has been ordered a higher generation of this model.
        """

    def observe(self, name: str, target: Target, *, smoke: bool, lease: bool = True) -> Observed:
        """Return what the replicas say; with `smoke`, send the candidate its own example.

        With `lease`, who asks promises to judge: the replicas let the challenger answer for another while.
        """

    def pause(self, seconds: float) -> None:
        """Return a little later."""


class Ledger(Protocol):
    """Streams of decisions."""

    def stream(self, name: str) -> tuple[Decision, ...]:
        """Return the decisions of a stream in order."""

    def record(
        self,
        previous: Decision | None,
        *,
        stream: str,
        at: datetime,
        who: str,
        what: str,
        why: str,
        evidence: Mapping[str, object],
    ) -> Decision:
        """Commit the decision that follows `previous`."""


class Predictions(Protocol):
    """What was answered, and what became of it."""

    def live(self, pipeline: Pipeline, version: str, bundle: Bundle, since: datetime, until: datetime) -> Live:
        """Return what a version answered in a window, with the labels that are known by now."""


class Jobs(Protocol):
    """Jobs of the cluster."""

    def running(self, name: str) -> str | None:
        """Return a retraining of this model that has not ended; None when there is none."""

    def submit(self, job_id: str, config: str, overrides: Sequence[str] = ()) -> None:
        """Start a retraining under this id, with these changes; one that is known already is not started twice."""


class ReleasePorts(Protocol):
    """What a release acts on; `Backends` has all of it."""

    @property
    def registry(self) -> Registry:
        """Names the champion."""

    @property
    def traffic(self) -> Traffic:
        """Is ordered."""

    @property
    def decisions(self) -> Ledger:
        """Is the truth."""

    @property
    def now(self) -> Callable[[], datetime]:
        """Tells the wall time."""


@dataclass(frozen=True, slots=True)
class Backends:
    """Everything a flow acts on."""

    ingestor: Ingestor
    features: FeatureBuilder
    trainer: Trainer
    bundles: Bundles
    registry: Registry
    traffic: Traffic
    decisions: Ledger
    now: Callable[[], datetime]
