"""A version is led back to what it was made from, and to nothing that came later."""

from datetime import UTC, datetime

import pytest

from raypipe.adapters.lake.lineage import Lineages
from raypipe.adapters.lake.store import Store
from raypipe.environment import StoreAddress
from raypipe.errors import ConfigError
from raypipe.snapshot import Snapshot


class Empty:
    """A registry without a version."""

    def version(self, name, number=None):
        return None


@pytest.fixture
def lineages(tmp_path):
    return Lineages(Store(StoreAddress(lake=str(tmp_path))), Empty())


def test_only_the_ingests_that_led_to_a_snapshot_belong_to_it(lineages):
    last = None
    for what in ("halt", "accept_halted", "accept", "accept", "accept"):
        at = datetime(2026, 1, 1, tzinfo=UTC)
        last = lineages._decisions.record(last, stream="ingest/s", at=at, who="x", what=what, why="y", evidence={})

    def led_to(table, version):
        return [d.what for d in lineages._ingested(Snapshot(table, version, "d", 1))]

    assert led_to("events/s", 2) == ["halt", "accept_halted", "accept", "accept"]
    assert led_to("events/s", 3) == ["halt", "accept_halted", "accept", "accept", "accept"]
    assert led_to("events/s", -1) == led_to("examples/s", 2) == []


@pytest.mark.parametrize("subject", ["nobody", "flights/3", "flights-7"])
def test_what_nothing_is_called_is_said(lineages, subject):
    with pytest.raises(ConfigError, match=f"nothing is called '{subject}'"):
        list(lineages.explain(subject))
