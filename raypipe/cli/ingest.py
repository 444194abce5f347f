"""`raypipe ingest`: what has landed becomes events in the lake, and nothing else happens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from raypipe.cli import operator
from raypipe.cli.run import ingest_table
from raypipe.config import load
from raypipe.contracts.backfill import Backfill, Days
from raypipe.contracts.halt import Resolution
from raypipe.environment import endpoints, home
from raypipe.errors import ConfigError

app = typer.Typer()


@app.command()
def ingest(
    config: Annotated[Path, typer.Argument(help="The pipeline file.")],
    accept: Annotated[int | None, typer.Option(help="Let in the good rows of this halted generation.")] = None,
    reject: Annotated[int | None, typer.Option(help="Skip the objects of this halted generation for good.")] = None,
    reason: Annotated[
        str | None, typer.Option(help="Why it is accepted, rejected or replaced, for the record.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="The source that this is about.", show_default="the only one that it can be")
    ] = None,
    backfill: Annotated[
        str | None, typer.Option(help="Replace the rows of these days, as in 2013-02-01..2013-03-01 for February.")
    ] = None,
    objects: Annotated[
        str | None, typer.Option("--from", help="Prefix or directory of the objects to backfill from.")
    ] = None,
    env: Annotated[
        str | None, typer.Option(help="Environment: a name below configs/env, or a file.", show_default="the one up")
    ] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="Change a key, as in training.seed=8.")] = None,
) -> None:
    """Ingest what has landed under its contracts; exit code 3 when a gate halts, until that is accepted or rejected."""
    asked = _backfill(backfill, objects, reason, source)
    resolution = None if asked else _resolution(accept, reject, reason, source)
    if asked and (accept, reject) != (None, None):
        raise ConfigError("a backfill decides about no halted generation: say --backfill, or --accept or --reject")
    pipeline = load(config, override or [])
    from raypipe.local.health import require
    from raypipe.local.state import environment_in_force
    from raypipe.pipeline import PASSED, REFUSED
    from raypipe.wiring import connect

    where = endpoints(environment_in_force(env, home()), home())
    require(where)
    with connect(where) as backends:
        ingestor = backends.ingestor
        ingested = ingestor.backfill(pipeline, asked) if asked else ingestor.ingest(pipeline, resolution)
    console = Console(highlight=False)
    ingest_table(console, f"raypipe ingest {pipeline.spec.name}", ingested)
    halted = [i for i in ingested.values() if not i.verdict.lets_pass]
    for i in halted:
        console.print(f"{i.source}: {i.verdict.sentence()}", soft_wrap=True, markup=False)
    raise typer.Exit(REFUSED if halted else PASSED)


def _backfill(days: str | None, objects: str | None, reason: str | None, source: str | None) -> Backfill | None:
    if days is None and objects is None:
        return None
    if days is None or objects is None:
        raise ConfigError("a backfill needs its days and its objects: say --backfill FROM..UNTIL and --from URI")
    if not reason:
        raise ConfigError("say why with --reason TEXT: it is recorded beside your name")
    return Backfill(source, Days.parse(days), objects, operator(), reason)


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
