"""What the demonstration came to, as tables. Knows decisions and versions; does not run anything."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from rich.table import Table

from raypipe.adapters.lake.bundles import LakeBundles
from raypipe.adapters.lake.decisions import Decisions
from raypipe.adapters.registry_mlflow import MlflowRegistry
from raypipe.config import Pipeline
from raypipe.ports import ModelVersion

# `make bench NAME=flights_reference`: gradient-boosted trees on the same features, trained on January to June.
_REFERENCE = "reference: trees 0.764 in July, 0.743 in August, 0.740 in September (benchmarks/results)"


def sources_table(decisions: Decisions, pipeline: Pipeline) -> Table:
    """Return rows in, accepted, refused by reason, and duplicates of each source, over all ingests."""
    table = Table("source", "rows in", "accepted", "dead letters", "duplicates", "refused by reason", title="ingest")
    for source in pipeline.spec.sources:
        counts: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        for decision in decisions.stream(f"ingest/{source}"):
            if decision.what == "accept":
                evidence = json.loads(decision.evidence)
                counts.update({k: evidence[k] for k in ("rows", "accepted", "dead_letters", "duplicates")})
                reasons.update(dict(evidence["by_reason"]))
        told = ", ".join(f"{n:,} x {reason}" for reason, n in reasons.most_common())
        table.add_row(source, *(f"{counts[k]:,}" for k in ("rows", "accepted", "dead_letters", "duplicates")), told)
    return table


def trials_table(registry: MlflowRegistry, bundles: LakeBundles, version: ModelVersion) -> Table:
    """Return what each trial came to of the search that a version was found by."""
    trials = registry.trials(version.name, bundles.get(version.digest).lineage.inputs_digest)
    names = sorted({name for t in trials for name in t.trial.parameters})
    table = Table("trial", *names, "outcome", "epochs", "AUC held out", title=f"search of version {version.version}")
    for t in trials:
        values = [t.trial.parameters.get(name) for name in names]
        told = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in values]
        score = t.score("auc")
        reached = "" if score is None else f"{score:.4f}"
        table.add_row(str(t.trial.number), *told, t.outcome, str(len(t.epochs)), reached)
    return table


def models_table(registry: MlflowRegistry, name: str, champion: ModelVersion, broken: ModelVersion) -> Table:
    """Return each version's validation metrics and verdict."""
    table = Table("version", "verdict", "AUC", "log loss", "Brier", "F1", "", title=f"versions ({_REFERENCE})")
    number = 1
    while found := registry.version(name, str(number)):
        version, verdict = found
        metrics = registry.metrics(name, version.version)
        values = [metrics.get(k) for k in ("auc", "log_loss", "brier", "f1")]
        note = "broken on purpose" if version == broken else "champion" if version == champion else ""
        table.add_row(version.version, str(verdict), *("" if v is None else f"{v:.4f}" for v in values), note)
        number += 1
    return table


def decisions_table(decisions: Decisions, name: str) -> Table:
    """Return each decision of the rollouts and of the monitor in words."""
    table = Table("stream", "", "decision", "why", title="decisions", show_lines=False)
    for stream in (f"release/{name}", f"monitor/{name}"):
        for d in decisions.stream(stream):
            table.add_row(stream, str(d.generation), d.what, d.why)
    return table


def margins(pipeline: Pipeline, registry: MlflowRegistry, champion: ModelVersion) -> Iterator[str]:
    """Yield what so few rows and requests can and cannot show."""
    release, versus = pipeline.spec.release, pipeline.spec.validation.versus_champion
    harm = ", ".join(f"{g.metric} is worse by more than {g.margin:g}" for g in release.guardrails)
    yield (
        f"What this can show: a rollout of some thousand requests tells whether {harm}, at {1 - release.alpha:.0%} "
        "confidence however often it looks, and nothing smaller; it does not judge how good the answers are."
    )
    if versus:
        yield (
            f"The gate lets a candidate pass that is at most {versus.margin:g} worse in {versus.metric} on the same "
            "rows: one that is equal passes too."
        )
    for finding in registry.findings(champion.name, champion.version):
        if " versus version " in str(finding["rule"]):
            yield f"What it said of version {champion.version}: {finding['message']}."
