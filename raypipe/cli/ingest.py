"""`raypipe ingest`: what has landed becomes events in the lake, and nothing else happens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from raypipe.cli import operator
from raypipe.cli.run import ingest_table
from raypipe.config import load
from raypipe.contracts.halt import Resolution
from raypipe.environment import endpoints, home
from raypipe.errors import ConfigError

app = typer.Typer()


@app.command()
def ingest(
    config: Annotated[Path, typer.Argument(help="The pipeline file.")],
    accept: Annotated[int | None, typer.Option(help="Let in the good rows of this halted generation.")] = None,
    reject: Annotated[int | None, typer.Option(help="Skip the objects of this halted generation for good.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why it is accepted or rejected, for the record.")] = None,
    source: Annotated[str | None, typer.Option(help="Its source.", show_default="the only one that is halted")] = None,
    env: Annotated[
        str | None, typer.Option(help="Environment: a name below configs/env, or a file.", show_default="the one up")
    ] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="Change a key, as in training.seed=8.")] = None,
) -> None:
    """Ingest what has landed under its contracts; exit code 3 when a gate halts, until that is accepted or rejected."""
    resolution = _resolution(accept, reject, reason, source)
    pipeline = load(config, override or [])
    from raypipe.local.health import require
    from raypipe.local.state import environment_in_force
    from raypipe.pipeline import PASSED, REFUSED
    from raypipe.wiring import connect

    where = endpoints(environment_in_force(env, home()), home())
    require(where)
    with connect(where) as backends:
        ingested = backends.ingestor.ingest(pipeline, resolution)
    console = Console(highlight=False)
    ingest_table(console, f"raypipe ingest {pipeline.spec.name}", ingested)
    halted = [i for i in ingested.values() if not i.verdict.lets_pass]
    for i in halted:
        console.print(f"{i.source}: {i.verdict.sentence()}", soft_wrap=True, markup=False)
    raise typer.Exit(REFUSED if halted else PASSED)


def _resolution(accept: int | None, reject: int | None, reason: str | None, source: str | None) -> Resolution | None:
    if accept is None and reject is None:
        if reason or source:
            raise ConfigError("--reason and --source belong to a halted generation: say --accept or --reject with it")
        return None
    generation = accept if reject is None else reject
    if generation is None or (accept is not None and reject is not None):
        raise ConfigError("a generation is either let in or skipped: say --accept or --reject, not both")
    if not reason:
        raise ConfigError("say why with --reason TEXT: it is recorded beside your name")
    return Resolution(source, generation, accept is not None, operator(), reason)
