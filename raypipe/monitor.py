"""One look at what was answered: judge it, decide, record, and start a retraining where that was decided.

A decision to fire is recorded before the job is submitted under an id made of its generation, so a monitor that was
killed in between submits it at its next tick, and never twice. A decision that follows it says that it was submitted:
it is left alone then, even by a cluster that has forgotten its jobs. Does not know how drift is measured or where jobs
run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from raypipe.config import Pipeline
from raypipe.decision import Decision
from raypipe.drift.decide import Judged, Live, decide, judge_live
from raypipe.errors import ConfigError
from raypipe.ports import Bundles, Jobs, Ledger, Predictions, Registry
from raypipe.telemetry import event
from raypipe.verdict import Finding


class MonitorPorts(Protocol):
    """What the monitor acts on."""

    @property
    def predictions(self) -> Predictions:
        """Are looked at."""

    @property
    def registry(self) -> Registry:
        """Names the champion and what it promised."""

    @property
    def bundles(self) -> Bundles:
        """Hold the reference."""

    @property
    def decisions(self) -> Ledger:
        """Is the truth."""

    @property
    def jobs(self) -> Jobs:
        """Retrain."""

    @property
    def now(self) -> Callable[[], datetime]:
        """Tells the wall time."""


@dataclass(frozen=True, slots=True)
class Tick:
    """What one look came to.

    Parameters
    ----------
    version
        The champion that was looked at.
    live
        What it answered.
    findings
        On each input, the score and the quality.
    decision
        What was recorded: fire or hold.
    """

    version: str
    live: Live
    findings: tuple[Finding, ...]
    decision: Decision


def stream_of(name: str) -> str:
    """Return the name of a model's monitor stream."""
    return f"monitor/{name}"


def tick(
    pipeline: Pipeline,
    config: str,
    on: MonitorPorts,
    since: datetime | None = None,
    until: datetime | None = None,
    overrides: Sequence[str] = (),
) -> Tick:
    """Return what a look at the champion's predictions came to; afterwards it is recorded, and acted on.

    Parameters
    ----------
    config
        The pipeline file, for the runs that it starts.
    since, until
        The window; by default the file's length, up to now.
    overrides
        What the pipeline was read with, such as `training.seed=8`; a retraining that is fired gets the same.

    Raises
    ------
    ConfigError
        When there is no champion to look at.
    GenerationMoved
        When another monitor decided at the same time.
    """
    spec = pipeline.spec
    stream = stream_of(spec.name)
    past = on.decisions.stream(stream)
    fired = [d for d in past if d.what == "fire"]
    if past and past[-1].what == "fire":
        # Whoever decided it may have been killed before the job was submitted; what follows it is recorded after that.
        _retrain(past[-1], config, on)
    live, findings = _look(pipeline, config, on, since, until)
    judged = decide(
        findings,
        live,
        spec.triggers,
        quality=spec.monitor.quality.metric,
        last_fired_at=fired[-1].at if fired else None,
        running=on.jobs.running(spec.name),
        now=on.now(),
    )
    evidence = _evidence(live, findings) | {"overrides": list(overrides)}
    decision = _record(stream, past[-1] if past else None, judged, evidence, on)
    if decision.what == "fire":
        _retrain(decision, config, on)
    return Tick(live.version, live, findings, decision)


def job_of(decision: Decision) -> str:
    """Return the id of the job that a decision to fire starts."""
    return f"retrain-{decision.stream.partition('/')[2]}-{decision.generation}"


def _look(
    pipeline: Pipeline, config: str, on: MonitorPorts, since: datetime | None, until: datetime | None
) -> tuple[Live, tuple[Finding, ...]]:
    spec = pipeline.spec
    champion = on.registry.champion(spec.name)
    if champion is None:
        raise ConfigError(f"model {spec.name!r} has no champion to monitor: `raypipe run {config}` releases one")
    ends = until or on.now()
    starts = since or ends - spec.monitor.window_for(spec.label.matures_within)
    bundle = on.bundles.get(champion.digest)
    live = on.predictions.live(pipeline, champion.version, bundle, starts, ends)
    expected = on.registry.metrics(spec.name, champion.version).get(spec.monitor.quality.metric)
    return live, judge_live(live, bundle.profile, expected, spec.monitor)


def _retrain(decision: Decision, config: str, on: MonitorPorts) -> None:
    # A decision of before overrides were recorded has none.
    overrides: list[str] = json.loads(decision.evidence).get("overrides", [])
    on.jobs.submit(job_of(decision), config, overrides)


def _evidence(live: Live, findings: Sequence[Finding]) -> dict[str, object]:
    seen = [{"rule": f.rule, "status": str(f.status), "observed": f.observed, "limit": f.limit} for f in findings]
    return {
        "version": live.version,
        "since": live.since.isoformat(),
        "until": live.until.isoformat(),
        "rows": live.rows,
        "labels": len(live.labels),
        "findings": json.loads(json.dumps(seen)),
    }


def _record(
    stream: str, previous: Decision | None, judged: Judged, evidence: Mapping[str, object], on: MonitorPorts
) -> Decision:
    decision = on.decisions.record(
        previous, stream=stream, at=on.now(), who="monitor", what=judged.what, why=judged.why, evidence=evidence
    )
    event("monitor", f"{judged.what}: {judged.why}", generation=decision.generation)
    return decision
