"""`raypipe maintain`: old rows leave the lake, small files become few, files that nobody needs are deleted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from raypipe.cli import operator
from raypipe.cli.dlq_report import table
from raypipe.config import load
from raypipe.environment import endpoints, home
from raypipe.errors import ConfigError
from raypipe.spec import parse_duration

if TYPE_CHECKING:
    from raypipe.adapters.upkeep import Upkeep, Upkept

app = typer.Typer()


@app.command()
def maintain(
    config: Annotated[Path, typer.Argument(help="The pipeline file.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")] = False,
    keep: Annotated[str, typer.Option(help="How long every version of a table stays readable; 7d at least.")] = "30d",
    env: Annotated[
        str | None, typer.Option(help="Environment: a name below configs/env, or a file.", show_default="the one up")
    ] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="Change a key, as in training.seed=8.")] = None,
) -> None:
    """Remove rows that are older than their contract keeps them, merge small files, delete what no version needs."""
    kept = _kept(keep)
    pipeline = load(config, override or [])
    done: list[Upkept] = []
    try:
        for step in _upkeep(env).run(pipeline, kept, who=operator(), dry_run=dry_run):
            done.append(step)
    finally:
        # What was done before something failed is done all the same.
        if done:
            _show(done)
    if not done:
        typer.echo("nothing to do: no row is too old, no small files have piled up, no file is unneeded")
    if dry_run:
        typer.echo("nothing was changed (--dry-run)")


def _upkeep(env: str | None) -> Upkeep:
    from raypipe.local.health import require_storage
    from raypipe.local.state import environment_in_force
    from raypipe.wiring import upkeep

    where = endpoints(environment_in_force(env, home()), home())
    require_storage(where)
    return upkeep(where)


def _kept(text: str) -> timedelta:
    from raypipe.adapters.upkeep_plan import LONGEST_RUN

    try:
        keep = parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"--keep: {error}", key="--keep") from error
    if keep < LONGEST_RUN:
        raise ConfigError(
            f"--keep is {text}, and {LONGEST_RUN.days}d is the least: a run may take that long, and reads and commits "
            "files that no newer version has",
            key="--keep",
        )
    return keep


def _show(done: Sequence[Upkept]) -> None:
    rows = [(s.step, s.table, "" if s.rows is None else s.rows, s.files, s.size_bytes, s.why) for s in done]
    shown = table(("step", "table", "rows", "files", "bytes", "what"), rows)
    Console(highlight=False, soft_wrap=True).print(shown)
