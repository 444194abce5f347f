"""Whether each part answers, embedded or not, in one sentence where it does not.

Used by `status`, by `up` to know when a part is ready, and by every flow before it starts. Knows addresses and
credentials by reference; does not know processes.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import stamina

from raypipe.adapters.lake.store import Store
from raypipe.environment import Endpoints
from raypipe.errors import AccessDenied, RaypipeError, Unavailable

# Loopback and in-house services are never reached through a proxy that the user's shell names.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_TIMEOUT_S = 5.0
_BUSY_S = 15.0


@dataclass(frozen=True, slots=True)
class PartHealth:
    """A part, where it is, and why it cannot be used; `problem` is None when it can."""

    part: str
    address: str
    problem: RaypipeError | None

    @property
    def up(self) -> bool:
        """Whether the part answers to our credentials."""
        return self.problem is None


def check(where: Endpoints, *, kafka: bool = False) -> list[PartHealth]:
    """Return the health of storage, registry, Ray and perhaps Kafka, asked at once; takes a few seconds at most."""
    asked: list[tuple[str, str, Callable[[Endpoints], None]]] = [
        ("storage", where.store.endpoint or where.store.lake, require_storage),
        ("registry", where.mlflow_uri, require_registry),
        ("ray", where.ray_address, require_ray),
    ]
    if kafka and where.kafka:
        asked.append(("kafka", where.kafka.brokers, require_kafka))

    def ask(part: tuple[str, str, Callable[[Endpoints], None]]) -> PartHealth:
        name, address, require_part = part
        try:
            require_part(where)
        except RaypipeError as error:
            return PartHealth(name, address, error)
        return PartHealth(name, address, None)

    with ThreadPoolExecutor(len(asked)) as pool:
        return list(pool.map(ask, asked))


def require(where: Endpoints, *, kafka: bool = False) -> None:
    """Return when every part answers; Kafka is asked only by who needs it.

    Raises
    ------
    Unavailable, AccessDenied, ConfigError
        The first part's problem, with the others' names.
    """
    problems = [h for h in check(where, kafka=kafka) if h.problem]
    if not problems:
        return
    first = problems[0]
    assert first.problem is not None
    if len(problems) == 1:
        raise first.problem
    names = " and ".join(h.part for h in problems)
    raise Unavailable(
        f"{names} cannot be used: {first.problem.message}", system=first.part, address=first.address
    ) from first.problem


def require_storage(where: Endpoints) -> None:
    """Return when the lake's store answers, the bucket exists and the credentials hold."""
    store = where.store
    if not store.lake.startswith("s3://"):
        path = Path(store.lake)
        if not path.is_dir() or not os.access(path, os.W_OK):
            raise Unavailable(
                f"the lake's directory {path} does not exist or cannot be written: run `raypipe up`, or correct "
                "`storage.lake` in the environment file",
                system="storage",
                address=store.lake,
            )
        return
    if store.endpoint:
        _reach("object store", store.endpoint)
    Store(store).listing(f"{store.lake.rstrip('/')}/_health/")


def require_registry(where: Endpoints) -> None:
    """Return when MLflow answers; a database URI is opened only by its users."""
    if where.mlflow_uri.startswith(("http://", "https://")):
        _get("MLflow", f"{where.mlflow_uri.rstrip('/')}/health")


def require_ray(where: Endpoints) -> None:
    """Return when the cluster answers and takes our token.

    Raises
    ------
    Unavailable
        When its GCS or its dashboard does not answer.
    AccessDenied
        When the token is refused.
    """
    if ":" in where.ray_address:
        _reach("Ray", f"tcp://{where.ray_address.removeprefix('ray://')}")
    token = where.ray_token.read() if where.ray_token else None
    health = _get_patiently("Ray", f"{where.dashboard_url.rstrip('/')}/api/gcs_healthz")
    if b"success" not in health:
        raise Unavailable(
            f"the Ray cluster at {where.dashboard_url} says that its head is not healthy: {health[:200]!r}",
            system="Ray",
            address=where.dashboard_url,
        )
    json.loads(_get("Ray", f"{where.dashboard_url.rstrip('/')}/api/version", token))


def require_kafka(where: Endpoints) -> None:
    """Return when a broker answers; one that wants TLS or a login is asked only for a connection."""
    if where.kafka is None:
        return
    first, secured = where.kafka.brokers.split(",")[0].strip(), dict(where.kafka.options).get("security.protocol")
    _reach("Kafka", f"tcp://{first}")
    if secured in (None, "PLAINTEXT", "plaintext"):
        _ask_versions(first)


def _ask_versions(broker: str) -> None:
    """Ask which versions of the protocol the broker speaks: the first request of every client.

    https://kafka.apache.org/protocol#The_Messages_ApiVersions (version 0)
    """
    parts = urlsplit(f"tcp://{broker}")
    request = struct.pack(">hhih", 18, 0, 1, -1)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 9092), timeout=_TIMEOUT_S) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            answer = connection.recv(10)
    except OSError as error:
        answer, why = b"", str(error)
    else:
        why = f"it answers {answer!r}"
    if len(answer) < 10 or struct.unpack(">iih", answer)[1:] != (1, 0):
        raise Unavailable(
            f"Kafka at {broker} does not speak ({why}): {_advice(f'tcp://{broker}')}", system="Kafka", address=broker
        )


def _advice(address: str) -> str:
    local = (urlsplit(address).hostname or "") in ("127.0.0.1", "localhost", "::1")
    return "run `raypipe up`" if local else "is it running, and is its address in the environment file right?"


def _reach(system: str, address: str) -> None:
    parts = urlsplit(address)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=_TIMEOUT_S).close()
    except OSError as error:
        raise Unavailable(
            f"{system} does not answer at {parts.hostname}:{port} ({error.strerror or error}): {_advice(address)}",
            system=system,
            address=address,
        ) from error


def _get_patiently(system: str, url: str) -> bytes:
    """Return the answer, asking again for some seconds where the server says that it is busy (HTTP 503)."""
    for attempt in stamina.retry_context(on=_Busy, attempts=8, timeout=_BUSY_S, wait_initial=0.25, wait_max=2.0):
        with attempt:
            return _get(system, url)
    raise AssertionError("the last attempt returns or raises")


class _Busy(Unavailable):
    """A server that answers, but not now."""


def _get(system: str, url: str, token: str | None = None) -> bytes:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with _DIRECT.open(request, timeout=_TIMEOUT_S) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (401, 403):
            raise AccessDenied(
                f"{system} at {url} refuses our token (HTTP {error.code}): check `ray.token` in the environment file; "
                "locally run `raypipe down`, then `raypipe up`",
                system=system,
                address=url,
            ) from None
        kind = _Busy if error.code == 503 else Unavailable
        raise kind(f"{system} answers {url} with HTTP {error.code}", system=system, address=url) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise Unavailable(
            f"{system} does not answer at {url} ({reason}): {_advice(url)}", system=system, address=url
        ) from error
