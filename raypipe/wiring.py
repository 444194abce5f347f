"""The composition root: what stands behind each port, for the environment at hand.

Ray reads its variables when it is imported, so the adapters that import it are imported after they are set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event
from typing import TYPE_CHECKING, assert_never

from raypipe.adapters.ray_session import authenticate, connect_ray
from raypipe.config import Pipeline
from raypipe.contracts.source import KafkaFeed, KinesisFeed, MessageFeed
from raypipe.environment import Endpoints, KafkaAddress
from raypipe.errors import ConfigError
from raypipe.ports import Backends, Bundles, Jobs, Ledger, Predictions, Registry, Traffic

if TYPE_CHECKING:
    from raypipe.adapters.feed import Feed
    from raypipe.adapters.stream_loop import SourceStream
    from raypipe.adapters.upkeep import Upkeep
    from raypipe.contracts.messages import Codec


@contextmanager
def connect(where: Endpoints) -> Iterator[Backends]:
    """Yield the backends of an environment, connected to its Ray cluster.

    Raises
    ------
    Unavailable, AccessDenied
        When the cluster does not answer, or refuses the token.
    """
    authenticate(where)
    import ray

    connect_ray(where)
    try:
        yield _backends(where)
    finally:
        ray.shutdown()


@dataclass(frozen=True, slots=True)
class Releasing:
    """Fulfils `ports.ReleasePorts`, and needs no Ray cluster to be joined."""

    registry: Registry
    traffic: Traffic
    decisions: Ledger
    now: Callable[[], datetime]


def releasing(where: Endpoints) -> Releasing:
    """Return what a release acts on; quick to make, for whoever has to abort one."""
    from raypipe.adapters.lake.bundles import LakeBundles
    from raypipe.adapters.lake.decisions import Decisions
    from raypipe.adapters.lake.store import Store
    from raypipe.adapters.registry_mlflow import MlflowRegistry
    from raypipe.adapters.serve_control import ServeControl
    from raypipe.adapters.serve_traffic import ServeTraffic

    store = Store(where.store)
    bundles = LakeBundles(store)
    control = ServeControl(where.dashboard_url, where.serve_url, where.ray_token)
    return Releasing(
        registry=MlflowRegistry(where.mlflow_uri),
        traffic=ServeTraffic(control, where, bundles.uri, bundles.get),
        decisions=Decisions(store),
        now=now,
    )


@dataclass(frozen=True, slots=True)
class Monitoring:
    """Fulfils `monitor.MonitorPorts`, and needs no Ray cluster to be joined."""

    predictions: Predictions
    registry: Registry
    bundles: Bundles
    decisions: Ledger
    jobs: Jobs
    now: Callable[[], datetime]


def monitoring(where: Endpoints, env: str | None) -> Monitoring:
    """Return what the monitor acts on; `env` names the environment for the runs that it starts."""
    authenticate(where)
    from raypipe.adapters.jobs_ray import RayJobs
    from raypipe.adapters.lake.bundles import LakeBundles
    from raypipe.adapters.lake.decisions import Decisions
    from raypipe.adapters.lake.store import Store
    from raypipe.adapters.live import LivePredictions
    from raypipe.adapters.registry_mlflow import MlflowRegistry

    store = Store(where.store)
    return Monitoring(
        predictions=LivePredictions(store),
        registry=MlflowRegistry(where.mlflow_uri),
        bundles=LakeBundles(store),
        decisions=Decisions(store),
        jobs=RayJobs(where.dashboard_url, where.ray_token, env),
        now=now,
    )


def upkeep(where: Endpoints) -> Upkeep:
    """Return what keeps the lake in order, which needs no Ray cluster."""
    from raypipe.adapters.lake.store import Store
    from raypipe.adapters.upkeep import Upkeep, Versions

    def registry() -> Versions:
        from raypipe.adapters.registry_mlflow import MlflowRegistry

        return MlflowRegistry(where.mlflow_uri)

    return Upkeep(Store(where.store), registry, now)


@contextmanager
def streaming(
    where: Endpoints, pipeline: Pipeline, source: str, who: str, stop: Event, metrics: tuple[str, int] | None
) -> Iterator[SourceStream]:
    """Yield the stream of a source, which needs no Ray cluster.

    Parameters
    ----------
    stop
        Ends it when it is set.
    metrics
        Host and port on which Prometheus is answered; None answers nowhere.

    Raises
    ------
    ConfigError
        When a feed's schema cannot be read, or the environment does not say where Kafka is.
    """
    from raypipe.adapters.feed_schema import codec_of
    from raypipe.adapters.lake.decisions import Decisions
    from raypipe.adapters.lake.store import Store
    from raypipe.adapters.stream_loop import SourceStream
    from raypipe.adapters.stream_metrics import StreamMetrics
    from raypipe.adapters.stream_record import StreamRecord
    from raypipe.adapters.stream_tables import StreamTables

    spec, contract = pipeline.spec.sources[source], pipeline.contracts[source]
    store, measured = Store(where.store), StreamMetrics(source)
    feeds = [_feed(where, source, f, codec_of(f, pipeline.directory)) for f in spec.messages]
    tables = StreamTables(store, source, spec, contract, who)
    record = StreamRecord(Decisions(store), source, contract.digest, now, who)
    running = SourceStream(source, spec, contract, feeds, tables, record, measured, now, stop)
    if metrics:
        measured.serve(metrics[1], metrics[0])
    try:
        yield running
    finally:
        running.close()


def _feed(where: Endpoints, source: str, feed: MessageFeed, codec: Codec) -> Feed:
    match feed:
        case KafkaFeed():
            from raypipe.adapters.feed_kafka import KafkaFeed as Topic

            # Brokers that the pipeline names are not those that the environment's secrets are for.
            address = KafkaAddress(feed.brokers) if feed.brokers else where.kafka
            if address is None:
                raise ConfigError(
                    f"the feed of topic `{feed.topic}` names no brokers, and the environment file has no `kafka`: add "
                    "`kafka: {kind: kafka, brokers: ...}` there",
                    key="kafka",
                )
            return Topic(source, feed.topic, address, codec)
        case KinesisFeed():
            from raypipe.adapters.feed_kinesis import KinesisFeed as Shards

            return Shards(source, feed.stream, feed.region, feed.endpoint, codec)
        case _:
            assert_never(feed)


def _backends(where: Endpoints) -> Backends:
    from raypipe.adapters.examples_ray import RayFeatures
    from raypipe.adapters.ingest_ray import RayIngestor
    from raypipe.adapters.lake.bundles import LakeBundles
    from raypipe.adapters.lake.decisions import Decisions
    from raypipe.adapters.lake.store import Store
    from raypipe.adapters.registry_mlflow import MlflowRegistry
    from raypipe.adapters.serve_control import ServeControl
    from raypipe.adapters.serve_traffic import ServeTraffic
    from raypipe.adapters.train_ray import RayTrainer

    store = Store(where.store)
    bundles = LakeBundles(store)
    control = ServeControl(where.dashboard_url, where.serve_url, where.ray_token)
    return Backends(
        ingestor=RayIngestor(store, now),
        features=RayFeatures(store),
        trainer=RayTrainer(store),
        bundles=bundles,
        registry=MlflowRegistry(where.mlflow_uri),
        traffic=ServeTraffic(control, where, bundles.uri, bundles.get),
        decisions=Decisions(store),
        now=now,
    )


def now() -> datetime:
    """Return the wall time, aware UTC."""
    return datetime.now(UTC)
