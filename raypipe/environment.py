"""Where raypipe runs: storage, registry, Ray and the serving endpoint, each embedded or somebody else's.

`EnvironmentSpec` is the file (`configs/env/*.yaml`); `Endpoints` is what every adapter connects to. An embedded
part and an existing one resolve to the same `Endpoints`, so nothing downstream knows the difference. Secrets are
only ever named (`SecretRef`); they are read where they are used. Knows no client library.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from raypipe.errors import ConfigError
from raypipe.spec import Spec


class SecretRef(Spec):
    """Where a secret is kept; never the secret. Exactly one of `env` and `file`."""

    env: str | None = None
    """Name of an environment variable."""
    file: str | None = None
    """Path of a file that holds the secret and nothing else."""

    @model_validator(mode="after")
    def _exactly_one(self) -> SecretRef:
        if (self.env is None) == (self.file is None):
            raise ValueError("a secret is named by exactly one of `env` and `file`")
        return self

    def read(self) -> str:
        """Return the secret.

        Raises
        ------
        ConfigError
            When the variable is not set or the file cannot be read.
        """
        if self.env is not None:
            value = os.environ.get(self.env)
            if not value:
                raise ConfigError(
                    f"the environment variable {self.env} is not set: export it, or name another secret "
                    "in the environment file",
                    key=self.env,
                )
            return value
        try:
            return Path(str(self.file)).read_text().strip()
        except OSError as error:
            raise ConfigError(
                f"the secret file {self.file} cannot be read ({error.strerror}): is the platform up? "
                "`raypipe up` writes it",
                key=str(self.file),
            ) from error


class EmbeddedStorage(Spec):
    """A SeaweedFS server that `raypipe up` starts; real S3 over HTTP with generated keys."""

    kind: Literal["embedded"]
    port: int = 9000
    """Port of the S3 endpoint."""
    internal_port: int = 9010
    """First of eight neighbouring ports for the store's own parts; `internal_port + 10007` is used too."""
    lake: str = "s3://lake"
    """URI under which the tables and bundles live."""


class ExistingStorage(Spec):
    """Any S3-compatible store that already runs."""

    kind: Literal["s3"]
    lake: str
    """URI under which the tables and bundles live, such as `s3://company-lake/raypipe`."""
    endpoint: str | None = None
    """Address such as `https://s3.example.org`; none means AWS."""
    region: str = "us-east-1"
    access_key: SecretRef | None = None
    """None means the usual AWS chain (instance role, profile)."""
    secret_key: SecretRef | None = None


class DirectoryStorage(Spec):
    """A directory that every process can see; for development and tests."""

    kind: Literal["directory"]
    lake: str
    """Path under which the tables and bundles live."""


class EmbeddedRegistry(Spec):
    """An MLflow server that `raypipe up` starts: metadata in sqlite, artifacts in the lake's store."""

    kind: Literal["embedded"]
    port: int = 5000


class ExistingRegistry(Spec):
    """An MLflow tracking server that already runs, or an sqlite URI."""

    kind: Literal["mlflow"]
    uri: str


class EmbeddedRay(Spec):
    """A Ray head that `raypipe up` starts, with dashboard, Jobs API and token authentication."""

    kind: Literal["embedded"]
    port: int = 6379
    """Port of the GCS, which is the cluster's address."""
    dashboard_port: int = 8265
    client_port: int = 10001
    """Port of the Ray client server."""
    cpus: int | None = None
    """Logical CPUs; none means two more than the machine has, so that idle replicas do not starve a run."""
    object_store_bytes: int = 1_000_000_000


class ExistingRay(Spec):
    """A Ray cluster that already runs."""

    kind: Literal["cluster"]
    address: str
    """`host:port` of its GCS, or `auto` on one of its nodes."""
    dashboard: str
    """Address of its dashboard, such as `http://head:8265`."""
    token: SecretRef | None = None
    """Its authentication token."""


class EmbeddedKafka(Spec):
    """A broker that `raypipe up --with kafka` starts on the embedded store; for development and tests."""

    kind: Literal["embedded"]
    port: int = 9092


class ExistingKafka(Spec):
    """Kafka brokers that already run."""

    kind: Literal["kafka"]
    brokers: str
    """`host:port,host:port`."""
    options: dict[str, str | int | bool] = {}
    """Settings of librdkafka, such as `security.protocol: SASL_SSL` and `sasl.mechanism: SCRAM-SHA-512`."""
    secrets: dict[str, SecretRef] = {}
    """Settings whose value is a secret, such as `sasl.password: {env: KAFKA_PASSWORD}`."""

    @model_validator(mode="after")
    def _secrets_are_named(self) -> ExistingKafka:
        for option in self.options:
            if option.endswith(("password", ".pem", "secret", "sasl.oauthbearer.config")):
                raise ValueError(f"`{option}` may hold a secret: name it under `kafka.secrets`, not `kafka.options`")
        return self


class ServeSpec(Spec):
    """The serving endpoint."""

    host: str = "127.0.0.1"
    port: int = 8000
    url: str | None = None
    """Address under which clients reach it, where it differs from `http://host:port`."""


class EnvironmentSpec(Spec):
    """One environment file: where each part runs."""

    storage: Annotated[EmbeddedStorage | ExistingStorage | DirectoryStorage, Field(discriminator="kind")]
    registry: Annotated[EmbeddedRegistry | ExistingRegistry, Field(discriminator="kind")]
    ray: Annotated[EmbeddedRay | ExistingRay, Field(discriminator="kind")]
    serve: ServeSpec = ServeSpec()
    kafka: Annotated[EmbeddedKafka | ExistingKafka, Field(discriminator="kind")] | None = None
    """Where feeds of kind `kafka` that name no brokers are read; none means nowhere."""


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """How to reach the object store; picklable, holds no secret."""

    lake: str
    endpoint: str | None = None
    region: str = "us-east-1"
    access_key: SecretRef | None = None
    secret_key: SecretRef | None = None


@dataclass(frozen=True, slots=True)
class KafkaAddress:
    """How to reach Kafka; picklable, holds no secret."""

    brokers: str
    options: tuple[tuple[str, str | int | bool], ...] = ()
    secrets: tuple[tuple[str, SecretRef], ...] = ()


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Everything an adapter needs to connect; picklable, holds no secret."""

    store: StoreAddress
    mlflow_uri: str
    ray_address: str
    dashboard_url: str
    serve_host: str
    serve_port: int
    serve_url: str
    ray_token: SecretRef | None = None
    kafka: KafkaAddress | None = None


def home() -> Path:
    """Return the directory that holds the local platform's state: `RAYPIPE_HOME`, else `./.raypipe`."""
    return Path(os.environ.get("RAYPIPE_HOME", ".raypipe")).resolve()


def endpoints(spec: EnvironmentSpec, home: Path) -> Endpoints:
    """Return where each part of `spec` is reached; embedded parts get their addresses and key files below `home`."""
    match spec.storage:
        case EmbeddedStorage() as s:
            store = StoreAddress(
                lake=s.lake,
                endpoint=f"http://127.0.0.1:{s.port}",
                access_key=SecretRef(file=str(home / "secrets" / "s3_access_key")),
                secret_key=SecretRef(file=str(home / "secrets" / "s3_secret_key")),
            )
        case ExistingStorage() as s:
            store = StoreAddress(s.lake, s.endpoint, s.region, s.access_key, s.secret_key)
        case DirectoryStorage() as s:
            store = StoreAddress(lake=str(Path(s.lake).resolve()))
    match spec.registry:
        case EmbeddedRegistry() as r:
            mlflow_uri = f"http://127.0.0.1:{r.port}"
        case ExistingRegistry() as r:
            mlflow_uri = r.uri
    match spec.ray:
        case EmbeddedRay() as c:
            address, dashboard = f"127.0.0.1:{c.port}", f"http://127.0.0.1:{c.dashboard_port}"
            token: SecretRef | None = SecretRef(file=str(home / "secrets" / "ray_token"))
        case ExistingRay() as c:
            address, dashboard, token = c.address, c.dashboard, c.token
    match spec.kafka:
        case EmbeddedKafka() as k:
            kafka: KafkaAddress | None = KafkaAddress(f"127.0.0.1:{k.port}")
        case ExistingKafka() as k:
            kafka = KafkaAddress(k.brokers, tuple(k.options.items()), tuple(k.secrets.items()))
        case None:
            kafka = None
    serve = spec.serve
    return Endpoints(
        store=store,
        mlflow_uri=mlflow_uri,
        ray_address=address,
        dashboard_url=dashboard,
        ray_token=token,
        serve_host=serve.host,
        serve_port=serve.port,
        serve_url=serve.url or f"http://{serve.host}:{serve.port}",
        kafka=kafka,
    )
