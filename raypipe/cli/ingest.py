"""`raypipe ingest`: what has landed becomes events in the lake, and nothing else happens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from raypipe.cli.run import ingest_table
from raypipe.config import load
from raypipe.environment import endpoints, home

app = typer.Typer()


@app.command()
def ingest(
    config: Annotated[Path, typer.Argument(help="The pipeline file.")],
    env: Annotated[
        str | None, typer.Option(help="Environment: a name below configs/env, or a file.", show_default="the one up")
    ] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="Change a key, as in training.seed=8.")] = None,
) -> None:
    """Ingest what has landed under its contracts; exit code 3 when a gate halts."""
    pipeline = load(config, override or [])
    from raypipe.local.health import require
    from raypipe.local.state import environment_in_force
    from raypipe.pipeline import PASSED, REFUSED
    from raypipe.wiring import connect

    where = endpoints(environment_in_force(env, home()), home())
    require(where)
    with connect(where) as backends:
        ingested = backends.ingestor.ingest(pipeline)
    console = Console(highlight=False)
    ingest_table(console, f"raypipe ingest {pipeline.spec.name}", ingested)
    halted = [i for i in ingested.values() if not i.verdict.lets_pass]
    for i in halted:
        console.print(f"{i.source}: {i.verdict.sentence()}", soft_wrap=True, markup=False)
    raise typer.Exit(REFUSED if halted else PASSED)
