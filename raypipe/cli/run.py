"""`raypipe run`: the main path, on the platform that an environment file names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from raypipe.config import Pipeline, load
from raypipe.environment import Endpoints, endpoints, home
from raypipe.pipeline import RunResult
from raypipe.ports import Ingested
from raypipe.training.search import require_sampler
from raypipe.verdict import Status

app = typer.Typer()


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="The pipeline file.")],
    env: Annotated[
        str | None, typer.Option(help="Environment: a name below configs/env, or a file.", show_default="the one up")
    ] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="Change a key, as in training.seed=8.")] = None,
) -> None:
    """Ingest what has landed, build features, train, validate, register and release; safe to repeat."""
    raise typer.Exit(execute(config, env, override or []))


def execute(config: Path, env: str | None, overrides: list[str]) -> int:
    """Run the pipeline file and return the exit code: 0 passed, 3 a gate refused, 4 rolled back.

    Parameters
    ----------
    env
        Name or file of an environment; None means the one that is up at this home, else `local`.
    """
    pipeline = load(config, overrides)
    if pipeline.spec.search:
        require_sampler(pipeline.spec.search)
    from raypipe.local.health import require
    from raypipe.local.state import environment_in_force
    from raypipe.pipeline import run as run_pipeline
    from raypipe.wiring import connect

    where = endpoints(environment_in_force(env, home()), home())
    require(where)
    with connect(where) as backends:
        result = run_pipeline(pipeline, backends)
        _show(pipeline, where, result)
    return result.exit_code


def ingest_table(console: Console, title: str, ingested: Mapping[str, Ingested]) -> None:
    """Print what became of each source: rows in, and why rows were refused."""
    table = Table(title=title, title_justify="left", box=None)
    for column in ("source", "rows in", "accepted", "dead letters", "duplicates", "gate"):
        text = column in ("source", "gate")
        # A number or a verdict is never cut short where there is no terminal to be wide enough.
        table.add_column(column, justify="left" if text else "right", no_wrap=column != "source", overflow="fold")
    for name, i in ingested.items():
        e = i.evidence
        table.add_row(
            name, f"{e.rows:,}", f"{e.accepted:,}", f"{e.dead_letters:,}", f"{e.duplicates:,}", str(i.verdict.status)
        )
    console.print(table)
    for name, i in ingested.items():
        for reason, rows in i.evidence.by_reason:
            console.print(f"  {name}: {rows:,} x {reason}")
        for finding in i.verdict.findings:
            if finding.status is Status.WARNED:
                console.print(f"  {name}: {finding.message}", soft_wrap=True, markup=False)
    for name, i in ingested.items():
        if i.report:
            console.print(f"report of {name}: {i.report}", soft_wrap=True, markup=False)


def _show(pipeline: Pipeline, where: Endpoints, result: RunResult) -> None:
    console = Console(highlight=False)
    ingest_table(console, f"raypipe run {pipeline.spec.name}", result.ingested)
    if result.trained and result.trained.trials:
        outcomes = Counter(t.outcome for t in result.trained.trials)
        console.print("trials: " + ", ".join(f"{n} {outcome}" for outcome, n in outcomes.items()))
    if result.trained:
        known = {k: f"{v:.4f}" for k, v in result.trained.metrics.items() if v is not None}
        console.print("validation: " + ", ".join(f"{k} {v}" for k, v in known.items()) + f" -> {result.verdict.status}")
    if result.version:
        console.print(f"version {result.version.version}: {result.summary}", markup=False)
    else:
        console.print(result.summary, markup=False)
    if result.exit_code == 0:
        console.print(
            f"MLflow {where.mlflow_uri}   dashboard {where.dashboard_url}   endpoint {where.serve_url}", soft_wrap=True
        )
        console.print(curl(where, pipeline.spec.name), soft_wrap=True, markup=False)


def curl(where: Endpoints, name: str) -> str:
    """Return a command that asks the model about its own example."""
    from raypipe.adapters.lake.bundles import LakeBundles
    from raypipe.adapters.lake.store import Store
    from raypipe.adapters.registry_mlflow import MlflowRegistry
    from raypipe.protocol.request import records_request

    champion = MlflowRegistry(where.mlflow_uri).champion(name)
    if champion is None:
        return ""
    bundle = LakeBundles(Store(where.store)).get(champion.digest)
    body = records_request(bundle.example.slice(0, 1), bundle.columns).decode()
    return (
        f"curl -s {where.serve_url}/endpoints/{name}/invocations -H 'content-type: application/json' -d {quote(body)}"
    )
