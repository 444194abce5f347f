"""The main path: from raw events to a model that answers.

    landing zone ──ingest──▶ events, dead letters      adapters/ingest_ray.py, contracts/
                   ──gate──▶ halt?                     contracts/gate.py
         events ──features──▶ examples                 adapters/features_ray.py, features/
         examples ──train──▶ bundle                    train.py, adapters/train_ray.py, training/
bundle, champion ──validate──▶ verdict                 train.py, training/validation.py
    bundle, verdict ──register──▶ version              adapters/registry_mlflow.py
         version ──release──▶ champion                 release.py, rollout/, adapters/gateway.py

A run can be killed between any two lines: run again, it finds what is done and goes on. It knows the stages and
their order; every stage is a port (`ports.py`), and what stands behind it is chosen in `wiring.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from raypipe import release
from raypipe.config import Pipeline
from raypipe.ports import Backends, Ingested, ModelVersion, Trained
from raypipe.rollout.state import Phase
from raypipe.train import train_candidate, validate
from raypipe.verdict import Verdict

PASSED, REFUSED, ROLLED_BACK = 0, 3, 4


def exit_code_of(phase: Phase) -> int:
    """Return the exit code of who followed a release to here: 0 it succeeded, 3 paused, 4 rolled back.

    Examples
    --------
    >>> exit_code_of(Phase.PAUSED)
    3
    """
    return {Phase.SUCCEEDED: PASSED, Phase.PAUSED: REFUSED}.get(phase, ROLLED_BACK)


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run came to.

    Parameters
    ----------
    exit_code
        0 passed, 3 a gate refused, 4 the release was rolled back.
    summary
        One sentence.
    ingested
        What became of each source.
    verdict
        Of the validation, or of the gate that halted the run.
    trained, version
        The candidate and its registered version, as far as the run got.
    """

    exit_code: int
    summary: str
    verdict: Verdict
    ingested: Mapping[str, Ingested] = field(default_factory=dict)
    trained: Trained | None = None
    version: ModelVersion | None = None


def run(pipeline: Pipeline, on: Backends) -> RunResult:
    """Return what a run of the pipeline came to; afterwards its model answers, or a recorded verdict says why not.

    Raises
    ------
    RaypipeError
        When an outside system fails; nothing is lost, and running again continues.
    """
    spec = pipeline.spec
    ingested = on.ingestor.ingest(pipeline)
    halted = [i for i in ingested.values() if not i.verdict.lets_pass]
    if halted:
        why = "; ".join(f"{i.source}: {i.verdict.sentence()}" for i in halted)
        return RunResult(REFUSED, why, halted[0].verdict, ingested)

    snapshots = {name: i.snapshot for name, i in ingested.items()}
    examples = on.features.build(pipeline, snapshots)
    trained = train_candidate(pipeline, (*snapshots.values(), examples), on)
    on.registry.link_reports(trained.run_id, {name: i.report for name, i in ingested.items()})

    verdict = validate(pipeline, examples, trained, on)
    version = on.registry.register(spec.name, trained, on.bundles.get(trained.digest), verdict)
    if not verdict.lets_pass:
        why = f"version {version.version} is registered as refused: {verdict.sentence()}"
        return RunResult(REFUSED, why, verdict, ingested, trained, version)

    state = release.roll_out(spec.release, version, on)
    return RunResult(exit_code_of(state.phase), state.reason, verdict, ingested, trained, version)
