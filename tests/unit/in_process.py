"""Tasks of ingestion in this process instead of on Ray's workers: the same functions, the same values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from raypipe.adapters import ingest_late, ingest_ray, ingest_rules, ingest_unique


@contextmanager
def in_process() -> Iterator[None]:
    """Map tasks by `map` wherever ingestion maps them."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (ingest_late, ingest_ray, ingest_rules, ingest_unique):
            patch.setattr(module, "map_tasks", map)
        yield
