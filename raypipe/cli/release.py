"""`raypipe release`: start, watch, resume, abort or undo the release of a version."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from raypipe.cli import operator
from raypipe.config import load
from raypipe.environment import Endpoints, endpoints, home
from raypipe.errors import ConfigError

if TYPE_CHECKING:
    from raypipe.decision import Decision
    from raypipe.rollout.state import Release
    from raypipe.wiring import Releasing

app = typer.Typer()

Model = Annotated[str, typer.Argument(help="The model: its name, or its pipeline file.", metavar="MODEL")]
Env = Annotated[
    str | None, typer.Option(help="Environment: a name below configs/env, or a file.", show_default="the one up")
]
Reason = Annotated[str, typer.Option(help="Why, for the record.")]


@app.command()
def start(
    config: Annotated[Path, typer.Argument(help="The pipeline file, whose `release` says how.")],
    version: Annotated[str | None, typer.Option(help="A registered version.", show_default="the newest")] = None,
    env: Env = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="Change a key, as in release.alpha=0.01.")] = None,
) -> None:
    """Release a registered version and follow it to its end; go on with an unfinished release first."""
    raise typer.Exit(execute_start(config, version, env, override or []))


def execute_start(config: Path, version: str | None, env: str | None, overrides: list[str]) -> int:
    """Release a version and return the exit code: 0 it is the champion, 3 refused or paused, 4 rolled back."""
    pipeline = load(config, overrides)
    name = pipeline.spec.name
    from raypipe.pipeline import REFUSED, exit_code_of
    from raypipe.release import roll_out

    on = _ports(env)
    found = on.registry.version(name, version)
    if found is None:
        raise ConfigError(f"model {name!r} has no version {version or 'at all'}: `raypipe run {config}` registers one")
    registered, verdict = found
    if not verdict.lets_pass:
        Console(stderr=True).print(
            f"version {registered.version} of {name} is registered as refused ({verdict}) and does not serve: "
            f"`raypipe explain {name}/{registered.version}` says why",
            style="red",
            soft_wrap=True,
        )
        return REFUSED
    return exit_code_of(roll_out(pipeline.spec.release, registered, on, again=True).phase)


@app.command()
def status(
    model: Model,
    env: Env = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the release is finished or paused.")] = False,
) -> None:
    """Show where the release of a model stands, and every decision of its last rollout."""
    name, on = _name(model), _ports(env)
    from raypipe.release import current, stream_of

    shown = 0
    while True:
        decisions = on.decisions.stream(stream_of(name))
        state = current(name, on)
        if state is None:
            raise ConfigError(f"model {name!r} has never been released: `raypipe run` releases its first version")
        first = int(state.rollout.rpartition("-")[2])
        new = [d for d in decisions if d.generation >= max(first, shown + 1)]
        if new:
            Console(highlight=False).print(_table(new, header=not shown))
        shown = decisions[-1].generation
        _describe(name, state, on)
        if not follow or state.finished or state.phase == "paused":
            return
        time.sleep(2)


@app.command()
def abort(model: Model, reason: Reason, env: Env = None) -> None:
    """Give everything to the champion at once; the traffic moves before it is recorded."""
    from raypipe import release

    name = _name(model)
    _say(name, release.abort(name, _ports(env), who=operator(), why=reason))


@app.command()
def undo(model: Model, reason: Reason, env: Env = None) -> None:
    """Give everything back to the former champion, which every replica still holds."""
    from raypipe import release

    name = _name(model)
    _say(name, release.undo(name, _ports(env), who=operator(), why=reason))


@app.command()
def resume(model: Model, reason: Reason, env: Env = None) -> None:
    """Let a paused release go on, and follow it to its end; exits as `start` does."""
    from raypipe import release
    from raypipe.pipeline import exit_code_of

    name = _name(model)
    state = release.resume(name, _ports(env), who=operator(), why=reason)
    _say(name, state)
    raise typer.Exit(exit_code_of(state.phase))


def _ports(env: str | None) -> Releasing:
    from raypipe.local.state import environment_in_force
    from raypipe.wiring import releasing

    where: Endpoints = endpoints(environment_in_force(env, home()), home())
    return releasing(where)


def _name(model: str) -> str:
    return load(model).spec.name if model.endswith((".yaml", ".yml")) else model


def _table(decisions: list[Decision], *, header: bool) -> Table:
    table = Table("generation", "at (UTC)", "who", "decision", "why", box=None, show_header=header)
    for d in decisions:
        table.add_row(str(d.generation), f"{d.at:%Y-%m-%d %H:%M:%S}", d.who, d.what, d.why)
    return table


def _describe(name: str, state: Release, on: Releasing) -> None:
    from raypipe.rollout.standing import standing
    from raypipe.rollout.state import target

    _say(name, state)
    if not state.finished:
        # Who only looks does not prolong the challenger's lease.
        observed = on.traffic.observe(name, target(state), smoke=False, lease=False)
        Console(highlight=False).print(f"  {standing(state, observed)}", soft_wrap=True, markup=False)


def _say(name: str, state: Release) -> None:
    champion = state.in_force.version if state.in_force else "none"
    Console(highlight=False).print(
        f"{state.rollout} ({state.strategy}) of version {state.candidate.version}: {state.phase} at generation "
        f"{state.generation}; champion of {name}: version {champion}",
        soft_wrap=True,
    )
