"""`raypipe metrics`: the newest figures of ingestion, read from the lake whenever Prometheus asks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from raypipe.environment import endpoints, home
from raypipe.errors import ConfigError

app = typer.Typer()


@app.command()
def metrics(
    port: Annotated[int, typer.Option(help="Port to answer on.")] = 9109,
    host: Annotated[str, typer.Option(help="Address to answer on; 0.0.0.0 for every one.")] = "127.0.0.1",
    textfile: Annotated[
        Path | None, typer.Option(help="Write them once to this file instead, for node_exporter's textfile collector.")
    ] = None,
    env: Annotated[
        str | None, typer.Option(help="Environment: a name below configs/env, or a file.", show_default="the one up")
    ] = None,
) -> None:
    """Answer scrapes until it is stopped, or write one file and end."""
    from prometheus_client import CollectorRegistry, start_http_server, write_to_textfile

    from raypipe.adapters.ingest_metrics import IngestMetrics
    from raypipe.adapters.lake.store import Store
    from raypipe.local.state import environment_in_force
    from raypipe.wiring import now

    registry = CollectorRegistry()
    registry.register(IngestMetrics(Store(endpoints(environment_in_force(env, home()), home()).store), now))
    if textfile is not None:
        write_to_textfile(str(textfile), registry)
        return
    try:
        _, answering = start_http_server(port, host, registry)
    except OSError as error:
        raise ConfigError(
            f"port {port} of {host} cannot be answered on ({error.strerror}): is another `raypipe metrics` running? "
            "Choose another with --port"
        ) from error
    Console(highlight=False).print(f"http://{host}:{port}/metrics", soft_wrap=True)
    answering.join()
