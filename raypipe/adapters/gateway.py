"""The gateway on Ray Serve: one deployment, `reconfigure` in place, the champion in every replica's own process.

`raypipe.adapters.gateway:app` is the import path of the declarative configuration. Knows Serve and where bundles
come from; the endpoint itself is `gateway_app`, the models in force are `gateway_loading`.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import torch
from ray import serve
from ray.exceptions import RayTaskError
from ray.serve.config import BackpressureConfig
from ray.serve.handle import DeploymentHandle
from ray.serve.metrics import Counter
from ray.serve.schema import LoggingConfig

from raypipe import scoring
from raypipe.adapters.gateway_app import Fault, GatewayApp
from raypipe.adapters.gateway_config import VersionConfig
from raypipe.adapters.gateway_lane import Call, ChallengerFailed
from raypipe.adapters.gateway_loading import Switch
from raypipe.adapters.gateway_state import Loaded, Loader
from raypipe.adapters.lake.store import Store
from raypipe.adapters.prediction_log import PredictionLog
from raypipe.adapters.serve_details import CHALLENGER
from raypipe.bundle import load_bundle
from raypipe.environment import StoreAddress

_LOG = logging.getLogger("raypipe.gateway")


def load_from_store(address: StoreAddress, wanted: VersionConfig) -> Loaded:
    """Return a bundle in memory, after its bytes were found to be those that its digest promises.

    Raises
    ------
    BundleRefused
        When they are not.
    Unavailable, AccessDenied
        When the store does not give them.
    """
    bundle = load_bundle(Store(address).read, wanted.bundle, wanted.digest)
    return Loaded(scoring.load(bundle), bundle.example)


def reach_challenger(application: str) -> Call:
    """Return the call to the challenger that runs, or will run, as this Serve application."""
    handles: list[DeploymentHandle[Any]] = []

    async def call(table: pa.Table) -> np.ndarray:
        if not handles:
            # Asks the controller, and fails while there is no such application: off the loop, and only when needed.
            find = partial(serve.get_deployment_handle, CHALLENGER, application)
            handles.append(await asyncio.get_running_loop().run_in_executor(None, find))
        try:
            scores: np.ndarray = await handles[0].score.remote(table)
        except RayTaskError as error:
            # The model's own error; anything else means that it was not reached.
            cause = getattr(error, "cause", None) or error
            raise ChallengerFailed("error", f"{type(cause).__name__}: {cause}"[:500]) from error
        return scores

    return call


class Gateway:
    """One replica of the endpoint.

    Parameters
    ----------
    load
        Fetches and verifies one bundle.
    """

    def __init__(self, load: Loader = load_from_store) -> None:
        # One thread per operator: replicas share the cores, and a tabular model gains nothing from more.
        torch.set_num_threads(1)
        self._switch = Switch(load)
        # Each process numbers its own batches: a restarted replica must not go on with another's.
        self._log = PredictionLog(uuid.uuid4().hex)
        self._faults = Counter("raypipe_gateway_faults", description="Requests that failed for an unforeseen reason.")

    def __serve_build_asgi_app__(self) -> GatewayApp:
        """Return the ASGI application, when Serve asks for it."""
        return GatewayApp(
            self._switch,
            ThreadPoolExecutor(1, thread_name_prefix="large", initializer=torch.set_num_threads, initargs=(1,)),
            replica=serve.get_replica_context().replica_id.unique_id,
            on_fault=self._report,
            reach=reach_challenger,
            recorder=self._log,
            echo_request_id=False,  # Serve's own middleware answers with it
        )

    def reconfigure(self, user_config: object) -> None:
        """Take note of the wanted generation; loading goes on in a thread, and failing there stops nothing."""
        self._switch.reconfigure(user_config)
        if store := self._switch.store:
            self._log.open(Store(store))

    def __del__(self) -> None:
        """Write what is not logged yet; Serve calls it when it ends a replica in order."""
        self._log.close()

    def status(self) -> dict[str, object]:
        """Return generation in force and wanted, digests and refusals, for callers by handle."""
        return asdict(self._switch.status())

    async def check_health(self) -> None:
        """Return on the loop that answers requests: a wedged loop cannot, and a hung loader raises."""
        self._switch.check()

    def _report(self, fault: Fault) -> None:
        self._faults.inc()
        record = {
            "event": "gateway.fault",
            "request_id": fault.request_id,
            "method": fault.method,
            "path": fault.path,
            "traceback": traceback.format_exception(fault.error),
        }
        _LOG.error(orjson.dumps(record).decode())


def build(load: Loader) -> serve.Application:
    """Return the Serve application of a gateway that loads bundles with `load`."""
    decorate = serve.deployment(
        name="gateway",
        max_ongoing_requests=64,
        # Under HAProxy this alone pushes back, and it has no limit by default.
        max_queued_requests=256,
        backpressure_config=BackpressureConfig(status_code=503, retry_after_s=1),
        # All replicas hear of a generation at once, not a fifth of them at a time.
        rolling_update_percentage=1.0,
        # A single replica is replaced by starting the new one first.
        max_surge_percent=100,
        health_check_period_s=5,
        health_check_timeout_s=15,
        graceful_shutdown_timeout_s=20,
        logging_config=LoggingConfig(enable_access_log=False),
        ray_actor_options={"num_cpus": 0.5},
    )
    return decorate(serve.ingress()(Gateway)).bind(load)


def app(args: dict[str, str]) -> serve.Application:
    """Return the gateway's Serve application; it takes no arguments, for a changed one would restart every replica."""
    return build(load_from_store)
