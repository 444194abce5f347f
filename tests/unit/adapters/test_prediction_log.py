"""What a replica notes down: each answer once, whatever the store does meanwhile."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from raypipe.adapters import prediction_log
from raypipe.adapters.gateway_log import Answered, Paired
from raypipe.adapters.lake.catalog import predictions_table, shadow_pairs_table
from raypipe.adapters.lake.store import Store
from raypipe.adapters.lake.tables import LakeTable
from raypipe.adapters.prediction_log import PredictionLog
from raypipe.environment import StoreAddress
from raypipe.errors import Unavailable

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def answer(number, rows=1, columns=("x", "at")):
    table = pa.table({"x": [float(number)] * rows, "at": pa.array([AT] * rows, pa.timestamp("us", "UTC"))})
    return Answered(
        at=AT,
        request_id=f"r{number}",
        model="flights",
        unit=f"u{number}",
        unit_kind="header",
        assigned_arm="challenger",
        answered_by="champion",
        fallback_reason="timeout",
        version="1",
        rollout="flights-3",
        epoch=4,
        table=table.select(list(columns)),
        scores=np.arange(rows) / 10,
        latency_ms=1.5,
    )


def pair(number, failed=False):
    scores = None if failed else np.array([0.75])
    error = "error: no" if failed else None
    return Paired(AT, f"r{number}", "flights", "u", "flights-3", 4, "1", "2", np.array([0.5]), scores, error)


@pytest.fixture
def store(tmp_path):
    return Store(StoreAddress(lake=str(tmp_path / "lake")))


@pytest.fixture
def log(store):
    made = PredictionLog("a", flush_s=3600)
    made.open(store)
    yield made
    made.close()


def test_an_answer_is_one_row_for_each_row_of_the_request_with_its_features_as_json(log, store):
    log.answered(answer(1, rows=2))
    log.answered(answer(2, columns=("x",)))
    log.flush()
    rows = predictions_table(store).read().sort_by([("request_id", "ascending"), ("row", "ascending")]).to_pylist()
    assert [(r["request_id"], r["row"], r["score"]) for r in rows] == [("r1", 0, 0.0), ("r1", 1, 0.1), ("r2", 0, 0.0)]
    assert json.loads(rows[0]["features"]) == {"x": 1.0, "at": "2026-01-02T03:04:05Z"}
    assert json.loads(rows[2]["features"]) == {"x": 2.0}
    kept = {k: rows[0][k] for k in ("assigned_arm", "answered_by", "fallback_reason", "rollout", "epoch", "at")}
    assert kept == {
        "assigned_arm": "challenger",
        "answered_by": "champion",
        "fallback_reason": "timeout",
        "rollout": "flights-3",
        "epoch": 4,
        "at": AT,
    }


def test_a_pair_has_both_scores_or_the_reason_why_there_is_only_one(log, store):
    log.paired(pair(1))
    log.paired(pair(2, failed=True))
    log.flush()
    sound, failed = shadow_pairs_table(store).read().sort_by("request_id").to_pylist()
    assert (sound["champion_score"], sound["challenger_score"], sound["difference"]) == (0.5, 0.75, 0.25)
    assert (failed["challenger_score"], failed["difference"], failed["error"]) == (None, None, "error: no")


def test_what_the_store_did_not_take_is_written_by_the_next_flush_and_no_row_comes_twice(log, store, monkeypatch):
    append = LakeTable.append
    outcomes = iter(["refused", "answer lost"])

    def failing(self, *args, **kwargs):
        match next(outcomes, "sound"):
            case "refused":
                raise Unavailable("the store is away")
            case "answer lost":
                append(self, *args, **kwargs)
                raise Unavailable("the store went away after it")
        append(self, *args, **kwargs)

    monkeypatch.setattr(LakeTable, "append", failing)
    for number in range(6):
        log.answered(answer(number))
        if number < 2:
            with pytest.raises(Unavailable):
                log.flush()
    log.flush()
    found = predictions_table(store).read().column("request_id").to_pylist()
    assert sorted(found) == [f"r{n}" for n in range(6)]
    assert log.counts() == {"written": 6, "waiting": 0, "dropped": 0}


def test_replicas_that_write_at_once_lose_nothing(store):
    logs = [PredictionLog(f"replica{i}", flush_s=3600) for i in range(4)]

    def work(log):
        log.open(store)
        for number in range(10):
            log.answered(answer(number))
            log.flush()

    threads = [threading.Thread(target=work, args=(log,)) for log in logs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for log in logs:
        log.close()
    assert predictions_table(store).read().num_rows == 40


def test_what_does_not_fit_is_dropped_and_counted_and_the_service_goes_on(store):
    log = PredictionLog("a", flush_s=3600, capacity=3)
    for number in range(5):
        log.answered(answer(number))
    assert log.counts() == {"written": 0, "waiting": 3, "dropped": 2}
    log.open(store)
    log.close()
    assert predictions_table(store).read().num_rows == 3


@pytest.fixture
def said(monkeypatch):
    sentences = []
    monkeypatch.setattr(prediction_log, "event", lambda stage, sentence, **fields: sentences.append(sentence))
    return sentences


@pytest.fixture
def quick(store):
    log = PredictionLog("a", flush_s=0.01)
    log.open(store)
    yield log
    log.close()


def until(log, **counts):
    """Return once the log's thread has counted this; the test's own timeout ends it where it never does."""
    pause = threading.Event()
    while not log.counts().items() >= counts.items():
        pause.wait(0.01)


def test_a_malformed_batch_is_dropped_counted_and_said_once_and_the_thread_goes_on(quick, store, said):
    for number in range(2):
        quick.answered(replace(answer(number), epoch="not a number"))
        until(quick, dropped=number + 1)
    quick.paired(replace(pair(1), champion_scores=["no number"]))
    until(quick, dropped=3)
    quick.answered(answer(7))
    quick.paired(pair(7))
    until(quick, written=2)
    assert quick.counts() == {"written": 2, "waiting": 0, "dropped": 3}
    assert predictions_table(store).read().column("request_id").to_pylist() == ["r7"]
    assert shadow_pairs_table(store).read().column("request_id").to_pylist() == ["r7"]
    assert ["1 answers or pairs cannot be logged" in sentence for sentence in said] == [True, True]


def test_a_batch_is_dropped_only_after_what_was_committed_of_it_is_known_to_be_there(log, store, monkeypatch):
    append = LakeTable.append

    def answer_lost(self, *args, **kwargs):
        append(self, *args, **kwargs)
        raise Unavailable("the store went away after it")

    log.answered(answer(1))
    with monkeypatch.context() as patched:
        patched.setattr(LakeTable, "append", answer_lost)
        with pytest.raises(Unavailable):
            log.flush()
    log.answered(replace(answer(2), epoch="not a number"))
    log.flush()
    log.answered(answer(3))
    log.flush()
    assert log.counts() == {"written": 2, "waiting": 0, "dropped": 1}
    assert sorted(predictions_table(store).read().column("request_id").to_pylist()) == ["r1", "r3"]


def test_an_unforeseen_error_of_the_store_leaves_the_rows_waiting_and_the_thread_alive(quick, store, said, monkeypatch):
    failed = threading.Event()

    def failing(self, *args, **kwargs):
        failed.set()
        raise ZeroDivisionError("no")

    with monkeypatch.context() as patched:
        patched.setattr(LakeTable, "append", failing)
        quick.answered(answer(1))
        assert failed.wait(10)
        assert quick.counts() == {"written": 0, "waiting": 1, "dropped": 0}
    until(quick, written=1)
    assert said == ["the prediction log waits: ZeroDivisionError: no"]
    assert predictions_table(store).read().num_rows == 1


def test_the_thread_writes_by_itself_and_closing_writes_the_rest(store):
    log = PredictionLog("a", flush_s=0.01)
    log.open(store)
    written = threading.Event()
    log.answered(answer(1))
    while not log.counts()["written"]:
        written.wait(0.01)
    log.answered(answer(2))
    log.close()
    assert predictions_table(store).read().num_rows == 2
