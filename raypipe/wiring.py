"""The composition root: what stands behind each port, for the environment at hand.

Ray reads its variables when it is imported, so the adapters that import it are imported after they are set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from raypipe.adapters.ray_session import authenticate, connect_ray
from raypipe.environment import Endpoints
from raypipe.ports import Backends, Bundles, Jobs, Ledger, Predictions, Registry, Traffic


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
