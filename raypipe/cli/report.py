"""`raypipe report`: the page about what was ingested, fetched from the lake to where a browser can open it."""

from __future__ import annotations

import webbrowser
from typing import Annotated

import typer
from rich.console import Console

from raypipe.environment import endpoints, home
from raypipe.errors import ConfigError

app = typer.Typer()


@app.command()
def report(
    source: Annotated[str, typer.Argument(help="A source of a pipeline.")],
    generation: Annotated[int | None, typer.Option(help="Of which generation.", show_default="the newest")] = None,
    env: Annotated[
        str | None, typer.Option(help="Environment: a name below configs/env, or a file.", show_default="the one up")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
) -> None:
    """Fetch the quality report of a source's newest generation, halted ones included, and say where it is."""
    from raypipe.adapters.ingest_report import reports_of
    from raypipe.adapters.lake.store import Store
    from raypipe.local.state import environment_in_force

    store = Store(endpoints(environment_in_force(env, home()), home()).store)
    found = reports_of(store, source)
    number = max(found, default=0) if generation is None else generation
    if number not in found:
        known = f"there are those of {', '.join(map(str, sorted(found)[-5:]))}" if found else "there is none"
        raise ConfigError(
            f"there is no report of generation {number} of `{source}`: {known}; `raypipe ingest` leaves one for each "
            "generation that it reads"
        )
    file = home() / "reports" / f"{source}-{number}.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(store.read(found[number]))
    Console(highlight=False).print(str(file), soft_wrap=True, markup=False)
    if open_:
        webbrowser.open(file.as_uri())
