"""`raypipe stream`: messages become events in the lake while they arrive."""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from raypipe.cli import operator
from raypipe.config import Pipeline, load
from raypipe.environment import endpoints, home
from raypipe.errors import ConfigError
from raypipe.spec import parse_duration

if TYPE_CHECKING:
    from raypipe.adapters.stream_loop import Streamed
    from raypipe.contracts.halt import Resolution

app = typer.Typer()


@app.command()
def stream(
    config: Annotated[Path, typer.Argument(help="The pipeline file.")],
    source: Annotated[
        str | None, typer.Option(help="Its source.", show_default="the only one that has such a feed")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End when all that has arrived is committed.")] = False,
    for_: Annotated[str | None, typer.Option("--for", help="End after this long, as in 10m.")] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Answer Prometheus on this port.")] = None,
    metrics_host: Annotated[str, typer.Option(help="On this address.")] = "127.0.0.1",
    accept: Annotated[int | None, typer.Option(help="Let in the messages at which it halted.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why they are let in, for the record.")] = None,
    env: Annotated[
        str | None, typer.Option(help="Environment: a name below configs/env, or a file.", show_default="the one up")
    ] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="Change a key, as in training.seed=8.")] = None,
) -> None:
    """Read a source's messages until told to stop; exit code 3 when too many of them are refused."""
    end = _seconds(for_)
    if (accept is None) != (reason is None):
        raise ConfigError("a halted generation is let in with --accept GENERATION and --reason TEXT, both")
    said = None if accept is None else (accept, str(reason))
    raise typer.Exit(
        execute(config, source, env, override or [], once=once, seconds=end, port=metrics_port, host=metrics_host,
                accept=said)
    )  # fmt: skip


def execute(
    config: Path,
    source: str | None,
    env: str | None,
    overrides: list[str],
    *,
    once: bool = False,
    seconds: float | None = None,
    port: int | None = None,
    host: str = "127.0.0.1",
    accept: tuple[int, str] | None = None,
) -> int:
    """Stream one source until a signal, or until `once` or `seconds` end it; return 0, or 3 when it halted.

    Parameters
    ----------
    accept
        The halted generation that is let in, and why.
    """
    pipeline = load(config, overrides)
    name = _source(pipeline, source)
    from raypipe.adapters.stream_loop import Until
    from raypipe.local.health import require_storage
    from raypipe.local.state import environment_in_force
    from raypipe.pipeline import PASSED, REFUSED
    from raypipe.wiring import streaming

    where = endpoints(environment_in_force(env, home()), home())
    require_storage(where)
    stop = _stopped_by_signals()
    who = f"{operator()} (process {os.getpid()}, {secrets.token_hex(4)})"
    resolution = _resolution(name, accept)
    with streaming(where, pipeline, name, who, stop, metrics=None if port is None else (host, port)) as running:
        until = Until(once, None if seconds is None else time.monotonic() + seconds)
        done = running.run(until, resolution)
    _show(name, done)
    return REFUSED if done.halted else PASSED


def _source(pipeline: Pipeline, asked: str | None) -> str:
    streamed = [name for name, spec in pipeline.spec.sources.items() if spec.messages]
    if asked is not None and asked not in pipeline.spec.sources:
        raise ConfigError(f"there is no source `{asked}`: the pipeline has {', '.join(pipeline.spec.sources)}")
    chosen = streamed if asked is None else [asked]
    if not set(chosen) <= set(streamed) or not chosen:
        raise ConfigError(
            f"{f'source `{asked}`' if asked else 'no source'} has a feed of kind kafka or kinesis: add one to its "
            "`feeds`, or use `raypipe ingest`",
            key="sources",
        )
    if len(chosen) > 1:
        raise ConfigError(f"several sources have such feeds ({', '.join(chosen)}): say which with --source, one each")
    return chosen[0]


def _stopped_by_signals() -> threading.Event:
    stop = threading.Event()

    def heard(number: int, _: object) -> None:
        stop.set()
        # A second signal ends the process at once; what is not committed is read again.
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, heard)
    return stop


def _resolution(source: str, accept: tuple[int, str] | None) -> Resolution | None:
    from raypipe.contracts.halt import Resolution

    return None if accept is None else Resolution(source, accept[0], True, operator(), accept[1])


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else parse_duration(text).total_seconds()
    except ValueError as error:
        raise ConfigError(f"--for: {error}", key="--for") from error


def _show(source: str, done: Streamed) -> None:
    console = Console(highlight=False)
    c = done.counts
    console.print(
        f"{source}: {c.rows:,} messages = {c.accepted:,} accepted + {c.dead_letters:,} dead letters + "
        f"{c.duplicates:,} duplicates",
        soft_wrap=True,
    )
    for reason, rows in c.by_reason:
        console.print(f"  {rows:,} x {reason}", markup=False)
    if done.halted:
        console.print(f"{source}: {done.halted.sentence()}", soft_wrap=True, markup=False)
