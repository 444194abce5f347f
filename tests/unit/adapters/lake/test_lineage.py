"""A version is led back to what it was made from, and to nothing that came later."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from raypipe.adapters.lake.lineage import Lineages
from raypipe.adapters.lake.store import Store
from raypipe.adapters.lake.tables import LakeTable
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


def record(lineages, told):
    last = dict.fromkeys(stream for stream, _, _ in told)
    for minute, (stream, what, evidence) in enumerate(told):
        at = datetime(2026, 1, 1, 0, minute, tzinfo=UTC)
        last[stream] = lineages._decisions.record(
            last[stream], stream=stream, at=at, who="x", what=what, why="y", evidence=evidence
        )


def commit(lineages, *app_ids):
    table = LakeTable(lineages._store, "events/s", pa.schema({"n": pa.int64()}))
    for app_id in app_ids:
        table.commit([], app_id=app_id, generation=table.generation(app_id) + 1)


def led_to(lineages, version, table="events/s"):
    return [line.partition(": ")[2].partition(",")[0] for line in lineages._brought(Snapshot(table, version, "d", 1))]


def test_only_the_ingests_that_led_to_a_snapshot_belong_to_it(lineages):
    commit(lineages, "ingest/s", "ingest/s", "compact/s", "ingest/s")
    words = [("halt", 1), ("accept_halted", 1), ("accept", 1), ("accept", 2), ("accept", 3), ("halt", 4)]
    record(lineages, [("ingest/s", what, {"manifest": n}) for what, n in words])
    assert led_to(lineages, 1) == ["halt", "accept_halted", "accept"]
    assert led_to(lineages, 2) == led_to(lineages, 3) == ["halt", "accept_halted", "accept", "accept"]
    assert led_to(lineages, 4) == ["halt", "accept_halted", "accept", "accept", "accept"]
    assert led_to(lineages, -1) == led_to(lineages, 2, "examples/s") == []


def test_replays_of_dead_letters_and_batches_of_a_stream_led_to_a_snapshot_too(lineages):
    commit(lineages, "ingest/s", "stream/s", "dlq/s", "stream/s", "ingest/s")
    record(
        lineages,
        [
            ("ingest/s", "accept", {"manifest": 1}),
            ("dlq/s", "unmask", {}),
            ("dlq/s", "replay", {"replay": 0}),
            ("dlq/s", "replay", {"replay": 1}),
            ("dlq/s", "drop", {"replay": 1}),
            ("dlq/s", "replay", {"replay": 1}),
            ("ingest/s", "accept", {"manifest": 2}),
        ],
    )
    assert led_to(lineages, 1) == ["accept"]
    assert led_to(lineages, 2) == ["accept", "1 batches"]
    assert led_to(lineages, 3) == ["accept", "replay", "1 batches"]
    assert led_to(lineages, 5) == ["accept", "replay", "accept", "2 batches"]


def test_rows_that_were_too_old_left_on_the_way_to_a_snapshot(lineages):
    commit(lineages, "ingest/s", "retention/s", "retention/s")
    gone = [
        {"table": "dead_letters", "commit": 1},
        {"table": "events/s", "commit": 1},
        {"table": "events/s", "commit": 2},
    ]
    record(
        lineages, [("ingest/s", "accept", {"manifest": 1}), *(("retention/s", "expire", evidence) for evidence in gone)]
    )
    assert led_to(lineages, 1) == ["accept"]
    assert led_to(lineages, 2) == ["accept", "expire"]
    assert led_to(lineages, 3) == ["accept", "expire", "expire"]


@pytest.mark.parametrize("subject", ["nobody", "flights/3", "flights-7"])
def test_what_nothing_is_called_is_said(lineages, subject):
    with pytest.raises(ConfigError, match=f"nothing is called '{subject}'"):
        list(lineages.explain(subject))
