"""`raypipe up`, `status` and `down`: the local platform, shown. Knows tables; does not know processes."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from raypipe.config import load_environment
from raypipe.environment import Endpoints, home
from raypipe.local import platform

app = typer.Typer()

_Env = Annotated[str, typer.Option(help="Environment: a name below configs/env, or a file.")]


@app.command()
def up(
    env: _Env = "local",
    with_: Annotated[
        list[str] | None, typer.Option("--with", help="A part that is not run by itself: kafka.", metavar="PART")
    ] = None,
) -> None:
    """Start what the environment file says is embedded; repair what died; safe to repeat."""
    console = Console(highlight=False)
    began = time.monotonic()
    spec = load_environment(env)
    file = env if env.endswith((".yaml", ".yml")) else f"configs/env/{env}.yaml"
    where = platform.up(spec, file, home(), lambda text: console.print(f"  {text}", soft_wrap=True), with_ or [])
    console.print(f"The platform is up ({time.monotonic() - began:.1f} s).\n")
    console.print(_addresses(where))
    console.print(
        "\nNext: raypipe run configs/flights/pipeline.yaml\n"
        f"Secrets are in {home() / 'secrets'}, logs in {home() / 'logs'}. `raypipe status` shows all, "
        "`raypipe down` ends all.",
        soft_wrap=True,
    )


@app.command()
def status(
    env: Annotated[
        str | None, typer.Option(help="Judge against this environment instead of the one brought up.")
    ] = None,
) -> None:
    """Show every part: state, address, process, ports. Exit code 0 when all are up, else 1."""
    console = Console(highlight=False)
    found = platform.status(home(), load_environment(env) if env else None)
    if not found.parts:
        console.print(f"Nothing is up at {home()}: run `raypipe up`.", soft_wrap=True)
        raise typer.Exit(1)
    parts = Table("part", "state", "address", "pid", box=None)
    for p in found.parts:
        state = "[green]up[/]" if p.up else "[red]down[/]"
        parts.add_row(p.part, state, p.address, str(found.pids.get(p.part, "-")))
    console.print(parts)
    for p in found.parts:
        if p.problem:
            console.print(f"{p.part}: {p.problem.message}", style="red", markup=False, soft_wrap=True)
    if found.listeners:
        ports = Table("port", "interface", "process", "pid", box=None)
        for f in found.listeners:
            open_to_all = f.interface != "loopback"
            ports.add_row(
                str(f.port), f"[yellow]{f.interface}[/]" if open_to_all else f.interface, f.process, str(f.pid)
            )
        console.print("\nListening:")
        console.print(ports)
        if any(f.interface != "loopback" for f in found.listeners):
            console.print("Ports beyond loopback belong to Serve replicas (docs/platform.md says which and why).")
    raise typer.Exit(0 if found.up else 1)


@app.command()
def down() -> None:
    """End every process that `up` started, and nothing else; data and secrets stay."""
    console = Console(highlight=False)
    ended = platform.down(home(), lambda text: console.print(f"  {text}", soft_wrap=True))
    console.print(f"The platform is down ({ended} processes ended)." if ended else f"Nothing was up at {home()}.")


def _addresses(where: Endpoints) -> Table:
    table = Table("what", "address", box=None)
    table.add_row("lake", f"{where.store.lake}" + (f" at {where.store.endpoint}" if where.store.endpoint else ""))
    table.add_row("MLflow", where.mlflow_uri)
    table.add_row("Ray dashboard", f"{where.dashboard_url} (asks for the token)")
    table.add_row("Ray", where.ray_address)
    table.add_row("endpoint", f"{where.serve_url} (answers after the first release)")
    return table
