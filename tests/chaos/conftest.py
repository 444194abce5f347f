"""One object store, one proxy and three drivers for all tests of this folder; a broker, a Ray cluster where one is asked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from place import Place


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Where ingestion is attacked."""
    made = Place(tmp_path_factory.mktemp("place"))
    try:
        yield made
    finally:
        made.close()
