"""What a replica counts as evidence is settled when a request is assigned, not by who answers first."""

import asyncio

import orjson
from test_gateway_trial import JSON, URL, Trial, arms, by, run

from raypipe.adapters.gateway_lane import ChallengerFailed

WIDER = [{"name": n, "type": t} for n, t in (("x", "float64"), ("carrier", "string"), ("wind", "float64"))]
NARROWER = WIDER[:1]


def body(**columns):
    return orjson.dumps({"dataframe_records": [{"x": 1.0, "carrier": "UA"} | columns]})


def infer(**columns):
    given = {"x": 1.0, "carrier": "UA"} | columns
    types = {str: "BYTES", float: "FP64"}
    tensors = [{"name": n, "shape": [1], "datatype": types[type(v)], "data": [v]} for n, v in given.items()]
    return orjson.dumps({"inputs": tensors})


def test_of_a_users_parallel_requests_the_first_that_was_assigned_counts_not_the_first_that_is_answered():
    trial = Trial(percent=50, timeout_ms=200)
    users = [f"u{i}" for i in range(60) if trial.takes(f"u{i}")]
    slow = set()

    async def call(table):
        # A user's first request never comes back, the next one at once.
        first = not slow
        slow.add(table.num_rows)
        if first:
            await asyncio.Event().wait()
        return table.column("x").to_numpy() + 100.0

    trial.challenger.call = call

    async def work():
        for user in users[:4]:
            slow.clear()
            late = asyncio.ensure_future(trial.ask(user))
            await asyncio.sleep(0)
            await asyncio.gather(trial.ask(user), late)
        return await trial.status()

    counted = run(work())["by_generation"]["1"]
    assert counted["errors"]["challenger_requests"] == 4
    assert counted["errors"]["challenger_errors"] == 4, "a later answer hid a timeout"
    assert counted["asked"] == 8, "every request counts towards the step's minimum"


def test_while_the_challenger_is_not_reached_neither_arm_counts_and_afterwards_both_do():
    trial = Trial(percent=50)

    async def work():
        trial.challenger.down = True
        for i in range(40):
            await trial.ask(f"before{i}")
        open_ = await trial.errors()
        await trial.all(200)
        still = await trial.errors()
        return open_, still, await trial.status()

    before, still, status = run(work())
    assert status["by_generation"]["1"]["circuit_open_s"] > 0
    assert still == before, "the champion's requests alone moved the evidence"
    assert before["challenger_requests"] == before["challenger_errors"] == 5, "those that opened it count"


def test_a_champion_that_fails_on_a_copied_request_is_evidence_for_the_challenger():
    trial = Trial(shadow=100)

    async def work():
        answer = await trial.ask("u1", carrier="bug")
        await trial.ask("u2")
        while len(trial.notes.pairs) < 2:
            await asyncio.sleep(0)
        return answer, await trial.status()

    answer, status = run(work())
    counted = status["by_generation"]["1"]
    assert answer.status == 500
    assert (counted["errors"]["pairs"], counted["errors"]["pair_champion_errors"]) == (2, 1)
    assert counted["errors"]["pair_challenger_errors"] == 0
    assert counted["errors"]["pair_both_errors"] == 0
    (failed,) = [p for p in trial.notes.pairs if p.champion_scores is None]
    assert failed.challenger_scores.tolist() == [101.0]
    assert len(trial.client.faults) == 1


def test_a_users_later_requests_count_towards_the_minimum_and_say_nothing_new():
    trial = Trial(shadow=100)

    async def work():
        for _ in range(3):
            await trial.ask("u1")
        while len(trial.notes.pairs) < 3:
            await asyncio.sleep(0)
        return await trial.status()

    counted = run(work())["by_generation"]["1"]
    assert (counted["copied"], counted["errors"]["pairs"]) == (3, 1)


def test_a_challenger_that_takes_more_columns_is_asked_with_them_and_the_champion_ignores_them():
    trial = Trial(percent=50, columns=WIDER)
    given = []

    async def call(table):
        given.append(table.column_names)
        if "wind" not in table.column_names:
            raise ChallengerFailed("error", "no wind")
        return table.column("wind").to_numpy()

    trial.challenger.call = call

    async def work():
        headers = JSON | {"x-user-id": next(f"u{i}" for i in range(99) if trial.takes(f"u{i}"))}
        whole = await trial.client.call("POST", URL, body(wind=7.0), headers)
        other = JSON | {"x-user-id": next(f"u{i}" for i in range(99) if not trial.takes(f"u{i}"))}
        champion = await trial.client.call("POST", URL, body(wind=7.0), other)
        tensors = await trial.client.call("POST", "/v2/models/flights/infer", infer(wind=7.0), headers)
        unknown = await trial.client.call("POST", URL, body(wnd=7.0), headers)
        return whole, champion, tensors, unknown

    whole, champion, tensors, unknown = run(work())
    assert (whole.json["predictions"], by([whole])) == ([7.0], ["challenger"])
    assert (champion.json["predictions"], arms([champion])) == ([2.0], ["champion"])
    assert tensors.json["outputs"][0]["data"] == [7.0]
    assert unknown.status == 400
    assert "wnd" in unknown.json["message"]
    assert given == [["x", "carrier", "wind"]] * 2


def test_a_challenger_that_takes_fewer_columns_is_asked_with_those():
    trial = Trial(percent=50, columns=NARROWER)

    async def call(table):
        assert table.column_names == ["x"]
        return table.column("x").to_numpy() + 100.0

    trial.challenger.call = call

    async def work():
        await trial.all(40)
        return await trial.errors()

    counted = run(work())
    assert counted["challenger_errors"] == 0
    assert counted["challenger_requests"] > 5


def test_a_request_that_was_read_while_the_order_moved_on_tells_the_epoch_that_assigned_it():
    trial = Trial()
    rows = [{"x": float(i), "carrier": "UA"} for i in range(1_500)]

    async def work():
        large = orjson.dumps({"dataframe_records": rows})
        late = asyncio.ensure_future(trial.client.call("POST", URL, large, JSON | {"x-request-id": "late"}))
        while late._fut_waiter is None:  # until its body is parsed, beside the loop
            await asyncio.sleep(0)
        trial.again(2, shadow=100)
        await trial.ask("u1")
        answer = await late
        while len(trial.notes.pairs) < 2:
            await asyncio.sleep(0)
        return answer

    answer = run(work())
    assert answer.headers["x-raypipe-epoch"] == "2"
    assert [(p.request_id, p.epoch) for p in trial.notes.pairs if p.request_id == "late"] == [("late", 2)]
    assert {r.epoch for r in trial.notes.rows} == {2}
