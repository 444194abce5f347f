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


def test_a_replay_of_dead_letters_led_to_a_snapshot_where_it_made_a_version(lineages):
    streams = {"ingest/s": None, "dlq/s": None}
    told = [("ingest/s", "accept", {}), ("dlq/s", "unmask", {}), ("dlq/s", "replay", {"replay": 0})]
    told += [("dlq/s", "replay", {"replay": 1}), ("dlq/s", "drop", {"replay": 1}), ("ingest/s", "accept", {})]
    for minute, (stream, what, evidence) in enumerate(told):
        at = datetime(2026, 1, 1, 0, minute, tzinfo=UTC)
        streams[stream] = lineages._decisions.record(
            streams[stream], stream=stream, at=at, who="x", what=what, why="y", evidence=evidence
        )

    def led_to(version):
        return [d.what for d in lineages._ingested(Snapshot("events/s", version, "d", 1))]

    assert [led_to(v) for v in (1, 2, 3)] == [["accept"], ["accept", "replay"], ["accept", "replay", "accept"]]


@pytest.mark.parametrize("subject", ["nobody", "flights/3", "flights-7"])
def test_what_nothing_is_called_is_said(lineages, subject):
    with pytest.raises(ConfigError, match=f"nothing is called '{subject}'"):
        list(lineages.explain(subject))
