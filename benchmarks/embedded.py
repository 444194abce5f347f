"""The embedded parts of the local platform, without Ray, for what is measured against a real store or broker."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from raypipe.environment import Endpoints, EnvironmentSpec, endpoints
from raypipe.errors import RaypipeError
from raypipe.local import health
from raypipe.local.parts import embedded_parts
from raypipe.local.ports import any_free
from raypipe.local.processes import end, marked, platform_id, spawn
from raypipe.local.ray_part import socket_dir
from raypipe.local.secrets import private_directory


@contextmanager
def embedded(root: Path, *more: str) -> Iterator[Endpoints]:
    """Yield where a store answers, and what else of `more` (`kafka`); everything that was started is ended.

    `root` gets the environment file `env.yaml`, and the parts' state and logs.
    """
    home = root / "home"
    home.mkdir()
    text = (
        f"storage: {{kind: embedded, port: {any_free(19_000)}, internal_port: 19010}}\n"
        f"kafka: {{kind: embedded, port: {any_free(19_092)}}}\n"
        "registry: {kind: mlflow, uri: 'sqlite:///none.db'}\n"
        "ray: {kind: cluster, address: none, dashboard: none}\n"
    )
    (root / "env.yaml").write_text(text)
    spec = EnvironmentSpec.model_validate(yaml.safe_load(text))
    where, mark = endpoints(spec, home), platform_id(home)
    sockets = private_directory(socket_dir(home))
    for part in embedded_parts(spec, home, sockets, lambda _, port: any_free(port), more):
        spawn(part.command, part.env, root / f"{part.name}.log", mark=mark, part=part.name)
    try:
        _await(lambda: health.require_storage(where))
        if "kafka" in more:
            _await(lambda: health.require_kafka(where))
        yield where
    finally:
        end(lambda: marked(mark))
        shutil.rmtree(sockets, ignore_errors=True)


def _await(ready: Callable[[], None]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            ready()
        except RaypipeError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
