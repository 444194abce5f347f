"""One local Ray cluster for all tests that need one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from ingest_world import World


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A Ray cluster of two CPUs in this process's session, without a dashboard and without tokens."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        with warnings.catch_warnings():
            # Ray announces here that it will stop setting accelerator variables; no test depends on them.
            warnings.filterwarnings("ignore", category=FutureWarning, module="ray")
            import ray

            ray.init(
                num_cpus=2,
                include_dashboard=False,
                object_store_memory=200_000_000,
                log_to_driver=False,
                configure_logging=False,
            )
        try:
            yield
        finally:
            ray.shutdown()


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A landing zone and a lake in an empty directory."""
    return World(tmp_path)
