"""A challenger on trial: who is assigned, who answers, what is counted, and what a user sees when it fails."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import numpy as np
import orjson
import pytest
from gateway_fakes import Client, Loader, reconfigured, user_config

from raypipe.adapters.gateway_lane import ChallengerFailed
from raypipe.adapters.gateway_loading import Switch
from raypipe.rollout.routing import bucket, takes

JSON = {"content-type": "application/json"}
URL = "/endpoints/flights/invocations"


@dataclass
class Challenger:
    """Adds 100 to x; fails on the carrier `bad`, cannot be reached while `down`, never answers while `hung`."""

    calls: list = field(default_factory=list)
    down: bool = False
    hung: bool = False
    gate: asyncio.Event | None = None

    def reach(self, application):
        return self.call

    async def call(self, table):
        self.calls.append(table.num_rows)
        if self.gate:
            await self.gate.wait()
        if self.hung:
            await asyncio.Event().wait()
        if self.down:
            raise ConnectionError("no route")
        if "bad" in table.column("carrier").to_pylist():
            raise ChallengerFailed("error", "ZeroDivisionError: bad")
        return table.column("x").to_numpy() + 100.0


@dataclass
class Notes:
    rows: list = field(default_factory=list)
    pairs: list = field(default_factory=list)

    def answered(self, row):
        self.rows.append(row)

    def paired(self, row):
        self.pairs.append(row)


def order(generation, percent=0, shadow=0, rollout="flights-1", **rest):
    config = user_config(generation, "1", ("1", "b1"))
    columns = [{"name": "x", "type": "float64"}, {"name": "carrier", "type": "string"}]
    challenger = {
        "version": "2",
        "digest": "b100",
        "application": "beside",
        "columns": columns,
        "percent": percent,
        "shadow_percent": shadow,
        "salt": rollout,
        "unit_header": "x-user-id",
    }
    config["models"][0] |= {"rollout": rollout, "challenger": challenger | rest}
    return config


class Trial:
    """A gateway with a challenger, as its users see it."""

    def __init__(self, **shares):
        self.challenger, self.notes = Challenger(), Notes()
        self.switch = reconfigured(Switch(Loader()), order(1, **shares))
        self.client = Client(self.switch, reach=self.challenger.reach, recorder=self.notes)

    def again(self, generation, **shares):
        reconfigured(self.switch, order(generation, **shares))

    async def ask(self, user, carrier="UA", url=URL):
        body = orjson.dumps({"dataframe_records": [{"x": 1.0, "carrier": carrier}]})
        return await self.client.call("POST", url, body, JSON | {"x-user-id": user, "x-request-id": f"r-{user}"})

    def takes(self, user):
        return takes(bucket("flights-1", user), 50)

    async def all(self, users, carrier="UA"):
        return await asyncio.gather(*[self.ask(f"u{i}", carrier) for i in range(users)])

    async def status(self, lease=None):
        answer = await self.client.call("GET", f"/status?lease={lease}" if lease else "/status")
        return answer.json["evidence"]["flights"]

    async def errors(self, generation=1):
        return (await self.status())["by_generation"][str(generation)]["errors"]


def arms(answers):
    return [a.headers["x-raypipe-arm"] for a in answers]


def by(answers):
    return [a.headers["x-raypipe-answered-by"] for a in answers]


def run(work):
    return asyncio.run(asyncio.wait_for(work, 30))


def test_a_share_of_the_users_is_answered_by_the_challenger_and_stays_there_as_the_share_grows():
    trial = Trial(percent=10)

    async def work():
        few = await trial.all(400)
        trial.again(2, percent=50)
        return few, await trial.all(400), await trial.all(400)

    few, many, again = run(work())
    assert arms(many) == arms(again)
    assert all(b == "challenger" for a, b in zip(arms(few), arms(many), strict=True) if a == "challenger")
    assert 20 < arms(few).count("challenger") < 70 < 150 < arms(many).count("challenger") < 250
    for answer in many:
        ours = answer.headers["x-raypipe-arm"] == "challenger"
        assert answer.json == {"predictions": [101.0 if ours else 2.0]}
        assert answer.headers["x-raypipe-version"] == ("2" if ours else "1")
        assert answer.headers["x-raypipe-rollout"] == "flights-1"


def test_requests_that_arrive_during_a_call_travel_together_in_the_next():
    trial = Trial(percent=50)

    async def work():
        trial.challenger.gate = asyncio.Event()
        first = asyncio.ensure_future(trial.all(1 + max(i for i in range(9) if trial.takes(f"u{i}"))))
        while not trial.challenger.calls:
            await asyncio.sleep(0)
        asking = asyncio.ensure_future(trial.all(100))
        while len(trial.notes.rows) < 40:
            await asyncio.sleep(0)
        trial.challenger.gate.set()
        return [*await first, *await asking]

    answers = run(work())
    assert len(trial.challenger.calls) == 2
    assert sum(trial.challenger.calls) == arms(answers).count("challenger")


def test_a_failing_request_is_answered_by_the_champion_and_counts_alone():
    trial = Trial(percent=50)

    async def work():
        trial.challenger.gate = asyncio.Event()
        asked = [trial.ask(f"u{i}", "bad" if i == 50 else "UA") for i in range(100)]
        asking = asyncio.gather(*asked)
        while not trial.challenger.calls:
            await asyncio.sleep(0)
        trial.challenger.gate.set()
        return await asking, await trial.errors(), await trial.status()

    answers, errors, status = run(work())
    assert {a.status for a in answers} == {200}
    failed = [a for a, b in zip(arms(answers), by(answers), strict=True) if (a, b) == ("challenger", "champion")]
    assigned = arms(answers).count("challenger")
    expected = int(arms(answers)[50] == "challenger")
    assert (len(failed), errors["challenger_errors"], errors["challenger_requests"]) == (expected, expected, assigned)
    assert errors["champion_requests"] == 100 - assigned
    assert status["by_generation"]["1"]["fallbacks"] == ({"error": 1} if expected else {})


def test_an_error_counts_against_the_arm_that_was_assigned_and_a_user_counts_once():
    trial = Trial(percent=50)

    async def work():
        for _ in range(3):
            await trial.all(60, carrier="bad")
        return await trial.errors(), await trial.ask("u1", carrier="bad")

    errors, _ = run(work())
    assert errors["challenger_errors"] == errors["challenger_requests"]
    assert errors["challenger_requests"] + errors["champion_requests"] == 60
    assert errors["champion_errors"] == 0
    assert {r.fallback_reason for r in trial.notes.rows} == {None, "error"}


def test_a_hung_challenger_costs_its_timeout_and_then_nothing():
    trial = Trial(percent=50, timeout_ms=20)
    trial.challenger.hung = True

    async def work():
        for _ in range(8):
            await trial.all(20)
        return await trial.all(20), await trial.status()

    answers, status = run(work())
    assert {a.status for a in answers} == {200}
    assert set(by(answers)) == {"champion"}
    counted = status["by_generation"]["1"]
    assert counted["fallbacks"]["timeout"] > 0
    assert counted["fallbacks"]["circuit"] > 0
    assert counted["circuit_open_s"] > 0
    # What the open circuit diverted was never asked: each user's first request timed out, and nothing else counts.
    assert counted["errors"]["challenger_errors"] <= counted["fallbacks"]["timeout"]


def test_a_challenger_that_comes_back_is_asked_again():
    trial = Trial(percent=50)
    trial.challenger.down = True

    async def work():
        while "circuit" not in (await trial.status())["by_generation"]["1"]["fallbacks"]:
            await trial.all(20)
        trial.challenger.down = False
        while "challenger" not in by(answers := await trial.all(20)):
            await asyncio.sleep(0.05)
        return answers, await trial.status()

    _, status = run(work())
    assert status["by_generation"]["1"]["circuit_open_s"] == 0
    assert status["by_generation"]["1"]["fallbacks"]["unreachable"] > 0


def test_a_challenger_that_nobody_judges_answers_nobody_until_somebody_does():
    trial = Trial(percent=50, lease_s=0.05)

    async def work():
        await asyncio.sleep(0.1)
        before = await trial.status()
        unjudged = await trial.all(40)
        await trial.status(lease="another-rollout")
        still = await trial.all(40)
        await trial.status(lease="flights-1")
        return before, unjudged, still, await trial.all(40)

    before, unjudged, still, judged = run(work())
    assert before["lease_left_s"] == 0
    assert set(by(unjudged)) == set(by(still)) == {"champion"}
    assert "challenger" in arms(unjudged)
    assert "challenger" in by(judged)
    assert {r.fallback_reason for r in trial.notes.rows[:80] if r.assigned_arm == "challenger"} == {"lease"}


def test_a_shadow_copy_changes_no_answer_and_is_recorded_with_both_scores():
    trial = Trial(shadow=100)

    async def work():
        answers = [await trial.ask(f"u{i}", "bad" if i == 3 else "UA") for i in range(10)]
        while len(trial.notes.pairs) < 10:
            await asyncio.sleep(0.001)
        return answers, await trial.errors()

    answers, errors = run(work())
    assert {(a.headers["x-raypipe-arm"], a.json["predictions"][0]) for a in answers} == {("champion", 2.0)}
    assert (errors["pairs"], errors["pair_challenger_errors"], errors["pair_champion_errors"]) == (10, 1, 0)
    failed = {p.request_id: p for p in trial.notes.pairs}["r-u3"]
    assert failed.challenger_scores is None
    assert "ZeroDivisionError" in failed.error
    sound = {p.request_id: p for p in trial.notes.pairs}["r-u4"]
    assert (sound.champion_scores.tolist(), sound.challenger_scores.tolist()) == ([2.0], [101.0])


def test_copies_that_find_no_room_are_dropped_and_counted():
    trial = Trial(shadow=100)

    async def work():
        trial.challenger.gate = asyncio.Event()
        answers = await trial.all(400)
        status = await trial.status()
        trial.challenger.gate.set()
        while len(trial.notes.pairs) < 256:
            await asyncio.sleep(0.001)
        return answers, status

    answers, status = run(work())
    assert set(by(answers)) == {"champion"}
    dropped = status["by_generation"]["1"]["shadow_dropped"]
    assert 400 - dropped == len(trial.notes.pairs)
    assert dropped > 0


def test_the_challengers_version_can_be_pinned_and_is_no_evidence():
    trial = Trial(percent=50)
    url = "/v2/models/flights/versions/2/infer"
    tensors = [
        {"name": "x", "shape": [1], "datatype": "FP64", "data": [1.0]},
        {"name": "carrier", "shape": [1], "datatype": "BYTES", "data": ["UA"]},
    ]
    broken = [tensors[0], tensors[1] | {"data": ["bad"]}]

    async def work():
        good = await trial.client.call("POST", url, orjson.dumps({"inputs": tensors}))
        bad = await trial.client.call("POST", url, orjson.dumps({"inputs": broken}))
        trial.challenger.down = True
        gone = await trial.client.call("POST", url, orjson.dumps({"inputs": tensors}))
        return good, bad, gone, await trial.errors()

    good, bad, gone, errors = run(work())
    assert (good.json["model_version"], good.json["outputs"][0]["data"]) == ("2", [101.0])
    assert (bad.status, gone.status) == (500, 503)
    assert "ZeroDivisionError" in bad.json["error"]
    assert sum(errors.values()) == 0


def test_a_request_that_lacks_a_column_of_the_challenger_is_the_challengers_failure():
    columns = [{"name": "x", "type": "float64"}, {"name": "weather", "type": "string"}]
    trial = Trial(percent=50, columns=columns)

    async def work():
        return await trial.all(40), await trial.errors()

    answers, errors = run(work())
    assert {a.status for a in answers} == {200}
    assert errors["challenger_errors"] == errors["challenger_requests"] > 0


def test_a_callers_own_mistake_counts_on_neither_arm():
    trial = Trial(percent=50)

    async def work():
        answer = await trial.client.call("POST", URL, b"{", JSON)
        return answer, await trial.errors()

    answer, errors = run(work())
    assert answer.status == 400
    assert sum(errors.values()) == 0


def test_every_answer_is_noted_with_who_was_to_answer_and_who_did():
    trial = Trial(percent=50)
    run(trial.all(50))
    rows = trial.notes.rows
    assert {(r.unit_kind, r.rollout, r.epoch, r.status) for r in rows} == {("header", "flights-1", 1, 200)}
    assert {(r.assigned_arm, r.answered_by, r.version) for r in rows} == {
        ("champion", "champion", "1"),
        ("challenger", "challenger", "2"),
    }
    assert all(r.scores.tolist() == ([101.0] if r.version == "2" else [2.0]) for r in rows)


def test_a_large_request_takes_the_same_way():
    trial = Trial(percent=50)
    body = orjson.dumps({"dataframe_records": [{"x": float(i), "carrier": "UA"} for i in range(1500)]})

    async def work():
        asked = [trial.client.call("POST", URL, body, JSON | {"x-user-id": f"u{i}"}) for i in range(6)]
        return await asyncio.gather(*asked)

    for answer in run(work()):
        assert answer.status == 200
        bias = 100.0 if answer.headers["x-raypipe-arm"] == "challenger" else 1.0
        np.testing.assert_array_equal(answer.json["predictions"], np.arange(1500) + bias)


def test_another_rollout_starts_counting_anew():
    trial = Trial(percent=50)

    async def work():
        await trial.all(20)
        trial.again(5, percent=50, rollout="flights-5")
        await trial.all(20)
        return await trial.status()

    status = run(work())
    assert (status["rollout"], set(status["by_generation"])) == ("flights-5", {"5"})


@pytest.mark.parametrize("percent", [0, 50])
def test_without_a_challenger_nothing_is_counted(percent):
    trial = Trial(percent=percent)
    reconfigured(trial.switch, user_config(7, "1", ("1", "b1")))
    answers = run(trial.all(20))
    assert set(arms(answers)) == {"champion"}
    assert not trial.challenger.calls
