"""The challenger on Ray Serve: one model in an application of its own, where it can fail alone.

`raypipe.adapters.challenger:app` is the import path of the declarative configuration. It has no route: only gateways
reach it, by handle. A bundle that is refused fails the deployment, and Serve says why.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch
from pydantic import TypeAdapter
from ray import serve
from ray.serve.schema import LoggingConfig

from raypipe import scoring
from raypipe.adapters.gateway_config import VersionConfig
from raypipe.adapters.gateway_state import Loaded, Scorer, warm
from raypipe.adapters.lake.store import Store
from raypipe.bundle import load_bundle
from raypipe.environment import StoreAddress
from raypipe.spec import Spec


class ChallengerOrder(Spec):
    """What a challenger is told to run."""

    version: str
    digest: str
    bundle: str
    store: StoreAddress


_ORDER = TypeAdapter(ChallengerOrder)


class Challenger:
    """One replica."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self._digest = ""
        self._scorer: Scorer | None = None

    def reconfigure(self, user_config: object) -> None:
        """Load what is ordered.

        Raises
        ------
        BundleRefused
            When its bytes are not those that were promised, or it cannot score its example.
        Unavailable, AccessDenied
            When the store does not give it.
        """
        order = _ORDER.validate_python(user_config)
        if order.digest == self._digest:
            return
        bundle = load_bundle(Store(order.store).read, order.bundle, order.digest)
        wanted = VersionConfig(version=order.version, digest=order.digest, bundle=order.bundle)
        self._scorer = warm(wanted, Loaded(scoring.load(bundle), bundle.example))
        self._digest = order.digest

    def score(self, table: pa.Table) -> np.ndarray:
        """Return float64 scores of shape (rows,)."""
        assert self._scorer is not None
        return self._scorer.score(table)


def app(args: dict[str, str]) -> serve.Application:
    """Return the challenger's Serve application; it takes no arguments."""
    decorate = serve.deployment(
        name="challenger",
        max_ongoing_requests=8,
        max_queued_requests=64,
        rolling_update_percentage=1.0,
        max_constructor_retry_count=3,
        health_check_period_s=5,
        health_check_timeout_s=15,
        graceful_shutdown_timeout_s=5,
        logging_config=LoggingConfig(enable_access_log=False),
        ray_actor_options={"num_cpus": 0.5},
    )
    return decorate(Challenger).bind()
