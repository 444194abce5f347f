"""`raypipe monitor`: one look at what the champion answered, and a retraining where it is due."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from raypipe.config import load
from raypipe.environment import endpoints, home
from raypipe.errors import ConfigError

if TYPE_CHECKING:
    from raypipe.monitor import Tick

app = typer.Typer()


@app.command()
def monitor(
    config: Annotated[Path, typer.Argument(help="The pipeline file.")],
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    since: Annotated[datetime | None, typer.Option(help="Start of the window, UTC.", show_default="its length")] = None,
    until: Annotated[datetime | None, typer.Option(help="End of the window, UTC.", show_default="now")] = None,
    env: Annotated[
        str | None, typer.Option(help="Environment: a name below configs/env, or a file.", show_default="the one up")
    ] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="Change a key, as in monitor.window=7d.")] = None,
) -> None:
    """Compare what was answered with what was learned, record fire or hold, and start a retraining on fire."""
    if not once:
        raise ConfigError(
            "say `--once`: who looks again and when is a scheduler's to say, such as cron or a RayCronJob"
        )
    execute(config, env, override or [], since, until)


def execute(
    config: Path, env: str | None, overrides: list[str], since: datetime | None = None, until: datetime | None = None
) -> None:
    """Look once; prints what was seen and decided. A retraining that is fired gets the overrides too."""
    pipeline = load(config, overrides)
    from raypipe.local.state import environment_in_force
    from raypipe.monitor import tick
    from raypipe.wiring import monitoring

    where = endpoints(environment_in_force(env, home()), home())
    found = tick(pipeline, str(config.resolve()), monitoring(where, env), _utc(since), _utc(until), overrides)
    _show(pipeline.spec.name, found)


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment


def _show(name: str, tick: Tick) -> None:
    console = Console(highlight=False)
    live = tick.live
    console.print(
        f"{name} version {tick.version}: {live.rows:,} predictions from {live.since:%Y-%m-%d %H:%M}Z to "
        f"{live.until:%Y-%m-%d %H:%M}Z, {len(live.labels):,} with a label",
        soft_wrap=True,
    )
    table = Table("rule", "observed", "limit", "status", box=None)
    for f in tick.findings:
        observed = "" if f.observed is None else f"{f.observed:.4f}"
        table.add_row(f.rule, observed, "" if f.limit is None else f"{f.limit:g}", str(f.status))
    console.print(table)
    decision = tick.decision
    console.print(f"decision {decision.generation}: {decision.what}: {decision.why}", soft_wrap=True, markup=False)
    if decision.what == "fire":
        from raypipe.monitor import job_of

        console.print(f"the retraining {job_of(decision)} is submitted: a candidate like any other", soft_wrap=True)
