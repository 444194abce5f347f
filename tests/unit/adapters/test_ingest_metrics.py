"""What a scrape reads: sums over the generations that were committed, and what waits."""

import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from raypipe.adapters.ingest_history import History
from raypipe.adapters.ingest_metrics import IngestMetrics
from raypipe.adapters.lake.decisions import Decisions
from raypipe.adapters.lake.store import Store
from raypipe.contracts.gate import GateEvidence
from raypipe.contracts.generation import Generation
from raypipe.environment import StoreAddress
from raypipe.verdict import Status

NOW = datetime(2020, 1, 10, tzinfo=UTC)


def keep(store, source, number, newest, **counts):
    at = NOW - timedelta(days=10 - number)
    made = Generation(number, at, Status.PASSED, GateEvidence(**counts), {}, {}, newest)
    History(store).keep(source, f"ingest/{source}", made)


def decide(store, source, *words):
    last = None
    for what in words:
        given = {"stream": f"ingest/{source}", "at": NOW, "who": "ingest", "what": what, "why": "", "evidence": {}}
        last = Decisions(store).record(last, **given)


@pytest.fixture
def store(tmp_path):
    store = Store(StoreAddress(lake=str(tmp_path)))
    reasons = (("range(km)", 2),)
    keep(
        store,
        "trips",
        1,
        NOW - timedelta(hours=5),
        rows=10,
        accepted=7,
        dead_letters=2,
        duplicates=1,
        by_reason=reasons,
    )
    keep(store, "trips", 3, NOW - timedelta(days=3), rows=5, accepted=5, warned=(("required(km)", 4),))
    keep(store, "weather", 1, None, objects=1)
    decide(store, "trips", "accept", "halt")
    decide(store, "weather", "halt", "accept_halted", "accept")
    Decisions(store).record(None, stream="release/m", at=NOW, who="r", what="halt", why="", evidence={})
    return store


@pytest.fixture
def scrape():
    servers = []

    def answer(store):
        registry = CollectorRegistry()
        registry.register(IngestMetrics(store, lambda: NOW))
        server, thread = start_http_server(0, "127.0.0.1", registry)
        servers.append((server, thread))
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics") as answered:
            text = answered.read().decode()
        samples = (s for family in text_string_to_metric_families(text) for s in family.samples)
        names = ("source", "class", "reason", "rule")
        return {
            (s.name.removeprefix("raypipe_ingest_"), *(s.labels[n] for n in names if n in s.labels)): s.value
            for s in samples
        }

    yield answer
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_scrape_has_the_sums_the_newest_and_what_waits(store, scrape):
    found = scrape(store)
    assert {k: v for k, v in found.items() if "timestamp" not in k[0] and v} == {
        ("rows_total", "trips", "accepted"): 12,
        ("rows_total", "trips", "dead_letter"): 2,
        ("rows_total", "trips", "duplicate"): 1,
        ("dead_letters_total", "trips", "range(km)"): 2,
        ("warnings_total", "trips", "required(km)"): 4,
        ("generation", "trips"): 3,
        ("generation", "weather"): 1,
        ("freshness_seconds", "trips"): 5 * 3600,
        ("halted", "trips"): 1,
    }
    assert found["halted", "weather"] == 0
    assert ("halted", "m") not in found
    assert found["last_commit_timestamp_seconds", "trips"] == (NOW - timedelta(days=7)).timestamp()
    assert ("freshness_seconds", "weather") not in found, "nothing known is not fresh"


def test_a_lake_that_does_not_answer_fails_the_scrape(tmp_path, scrape):
    (tmp_path / "profiles" / "_delta_log").mkdir(parents=True)
    (tmp_path / "profiles" / "_delta_log" / "00000000000000000000.json").write_text("broken")
    with pytest.raises(urllib.error.HTTPError, match="500"):
        scrape(Store(StoreAddress(lake=str(tmp_path))))


def test_a_generation_is_kept_once_and_read_back_as_it_was(store):
    before = History(store).before("trips", 9)
    keep(store, "trips", 3, None, rows=99)
    keep(store, "trips", 2, None, rows=99)
    assert History(store).before("trips", 9) == before
    assert [(g.number, g.counts.rows) for g in before] == [(1, 10), (3, 5)]
    assert [g.number for g in History(store).before("trips", 3)] == [1]
