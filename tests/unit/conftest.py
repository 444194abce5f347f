"""Its place puts this directory on the import path, for what tests of several directories share."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _no_cluster() -> Iterator[None]:
    """No unit test starts Ray: whoever calls it unawares gets a whole cluster, and those that come after it no other."""
    if _runs():  # for tests of tests/ray, in the same process
        yield
        return
    yield
    if _runs():
        sys.modules["ray"].shutdown()
        pytest.fail("this test started a Ray cluster: run `map_tasks` in this process, as in_process.py does")


def _runs() -> bool:
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())
