"""A driver's connection to the Ray cluster: authenticated, quiet, and refused quickly with a sentence.

Knows Ray's variables and errors; does not know what the driver then runs.
"""

from __future__ import annotations

import logging
import os
import socket
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from raypipe.environment import Endpoints
from raypipe.errors import AccessDenied, Unavailable

_TIMEOUT_S = 5.0


def ray_environment(where: Endpoints) -> dict[str, str]:
    """Return the variables with which a process reaches the cluster; a token in a file only by its path.

    Examples
    --------
    >>> from raypipe.environment import SecretRef, StoreAddress
    >>> local = Endpoints(StoreAddress("/lake"), "sqlite://", "127.0.0.1:6379", "http://127.0.0.1:8265",
    ...                   "127.0.0.1", 8000, "http://127.0.0.1:8000", SecretRef(file="/secrets/token"))
    >>> ray_environment(local)["RAY_AUTH_TOKEN_PATH"]
    '/secrets/token'
    """
    env = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "MLFLOW_TRACKING_URI": where.mlflow_uri,
    }
    if _host(where.ray_address) in ("127.0.0.1", "localhost"):
        # Ray would turn loopback into the machine's address, where the local platform does not listen.
        env["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    token = where.ray_token
    if token is None:
        return env
    named = {"RAY_AUTH_TOKEN_PATH": token.file} if token.file else {"RAY_AUTH_TOKEN": token.read()}
    return env | {"RAY_AUTH_MODE": "token"} | named


def authenticate(where: Endpoints) -> dict[str, str]:
    """Set and return this process's variables for the cluster; Ray reads them once, when it is first imported."""
    env = ray_environment(where)
    if "RAY_AUTH_TOKEN_PATH" in env:
        # A token in the variable wins over the file, and may be another cluster's.
        os.environ.pop("RAY_AUTH_TOKEN", None)
    os.environ.update(env)
    return env


def connect_ray(where: Endpoints) -> None:
    """Connect this process to the cluster; afterwards `ray.remote` and Ray Data run there. Safe to repeat.

    Raises
    ------
    Unavailable
        Within 15 s, when the cluster does not answer.
    AccessDenied
        When it refuses our token.
    """
    env = authenticate(where)
    import ray  # noqa: PLC0415
    from ray._private import ray_constants  # noqa: PLC0415

    if ray.is_initialized():
        return
    if "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" in env:
        ray_constants.ENABLE_RAY_CLUSTER = False
    _probe(where)
    _hush()
    try:
        ray.init(
            address=where.ray_address,
            namespace="raypipe",
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=True,
        )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise Unavailable(
            f"the Ray cluster at {where.ray_address} answers but does not take this driver ({_first_line(error)}): "
            "compare the Ray and Python versions on both sides; locally run `raypipe down`, then `raypipe up`",
            system="Ray",
            address=where.ray_address,
        ) from error


def _hush() -> None:
    """Leave out the advice that a head of few cores gives whenever several trials or replicas start their processes."""
    from ray._private import worker  # noqa: PLC0415

    told = worker.print_to_stdstream

    def tell(data: Any, ignore_prefix: bool) -> None:
        if not any("PYTHON worker processes have been started" in line for line in data["lines"]):
            told(data, ignore_prefix)

    worker.print_to_stdstream = tell


def _probe(where: Endpoints) -> None:
    """Ask the GCS port and the dashboard first: `ray.init` alone would wait for minutes."""
    host, _, port = where.ray_address.removeprefix("ray://").rpartition(":")
    try:
        if host:
            socket.create_connection((host, int(port)), timeout=_TIMEOUT_S).close()
        token = where.ray_token.read() if where.ray_token else None
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"{where.dashboard_url.rstrip('/')}/api/version", headers=headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        opener.open(request, timeout=_TIMEOUT_S).close()
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (401, 403):
            raise AccessDenied(
                f"the Ray cluster at {where.dashboard_url} refuses our token (HTTP {error.code}): check `ray.token` "
                "in the environment file",
                system="Ray",
                address=where.dashboard_url,
            ) from None
        raise _unavailable(where, f"HTTP {error.code}") from None
    except OSError as error:
        raise _unavailable(where, str(getattr(error, "reason", error))) from error


def _unavailable(where: Endpoints, why: str) -> Unavailable:
    local = _host(where.ray_address) in ("127.0.0.1", "localhost")
    advice = "run `raypipe up`" if local else "is it running, and is `ray` in the environment file right?"
    return Unavailable(
        f"the Ray cluster at {where.ray_address} (dashboard {where.dashboard_url}) does not answer ({why}): {advice}",
        system="Ray",
        address=where.ray_address,
    )


def _host(address: str) -> str:
    return urlsplit(f"//{address.removeprefix('ray://')}").hostname or ""


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0][:200]
