"""One Ray cluster for all tests that need one: starting it takes seconds."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import ray


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """Connect to a cluster of this session's own, with two logical CPUs; it ends with the session."""
    # Otherwise workers of a driver that `uv run` started would each build an environment.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()
