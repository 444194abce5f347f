"""The endpoint over ASGI: two protocols, who answered, and every refusal with its status."""

from __future__ import annotations

import asyncio
import gzip
import threading
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest
from gateway_fakes import Client, Loader, reconfigured, together, user_config

from raypipe.adapters.gateway_app import GatewayApp
from raypipe.adapters.gateway_loading import Switch
from raypipe.adapters.gateway_log import Unrecorded
from raypipe.adapters.gateway_scoring import INLINE_BYTES


@pytest.fixture
def client():
    config = user_config(3, "1", ("1", "b1"), ("2", "b2"), max_rows=5000, max_body_bytes=200_000)
    return Client(reconfigured(Switch(Loader()), config))


def infer_body(*values, carrier="UA", **fields):
    return orjson.dumps(
        {
            "inputs": [
                {"name": "x", "shape": [len(values)], "datatype": "FP64", "data": values},
                {"name": "carrier", "shape": [len(values)], "datatype": "BYTES", "data": [carrier] * len(values)},
            ],
            **fields,
        }
    )


INFER = "/v2/models/flights/infer"
RECORDS = orjson.dumps({"dataframe_records": [{"x": 1.0, "carrier": "UA"}]})
JSON = {"content-type": "application/json"}


def test_the_champion_answers_and_says_so(client):
    answer = client("POST", INFER, infer_body(0.5, 2.0, id="a"), {"x-request-id": "r-1"}, chunks=3)
    assert answer.status == 200
    assert answer.json == {
        "model_name": "flights",
        "model_version": "1",
        "id": "a",
        "parameters": {"epoch": 3, "arm": "champion"},
        "outputs": [{"name": "score", "datatype": "FP64", "shape": [2], "data": [1.5, 3.0]}],
    }
    told = {k: v for k, v in answer.headers.items() if k.startswith("x-")}
    assert told == {
        "x-raypipe-version": "1",
        "x-raypipe-epoch": "3",
        "x-raypipe-arm": "champion",
        "x-raypipe-answered-by": "champion",
        "x-request-id": "r-1",
    }


def test_a_pinned_version_bypasses_the_champion(client):
    answer = client("POST", "/v2/models/flights/versions/2/infer", infer_body(0.5))
    assert answer.json["outputs"][0]["data"] == [2.5]
    assert answer.headers["x-raypipe-arm"] == "pinned"


@pytest.mark.parametrize("path", ["/invocations", "/endpoints/flights/invocations"])
def test_mlflow_clients_are_answered_in_their_protocol(client, path):
    answer = client("POST", path, RECORDS, JSON)
    assert (answer.status, answer.json) == (200, {"predictions": [2.0]})
    assert answer.headers["x-raypipe-version"] == "1"


@pytest.mark.parametrize("given", ["", "x" * 129, "has space"])
def test_a_request_id_that_cannot_be_honoured_is_replaced(client, given):
    answers = [client("POST", INFER, infer_body(1.0), {"x-request-id": given}) for _ in range(2)]
    ids = {a.headers["x-request-id"] for a in answers}
    assert len(ids) == 2
    assert given not in ids


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/v2", 200, b'"name":"raypipe"'),
        ("GET", "/v2/health/live", 200, b'{"ready":true,"live":true}'),
        ("GET", "/v2/health/ready", 200, b'{"ready":true,"live":true}'),
        ("HEAD", "/v2/health/ready", 200, b"ready"),
        ("GET", "/v2/models", 200, b'{"name":"flights","version":"1","versions":["1","2"],"ready":true}'),
        ("GET", "/v2/models/flights", 200, b'"versions":["1","2"]'),
        ("GET", "/v2/models/flights/ready", 200, b'"ready":true'),
        ("GET", "/v2/models/flights/versions/2", 200, b'"versions":["2"]'),
        ("GET", "/v2/models/flights/versions/2/ready", 200, b'"ready":true'),
        ("GET", "/ping", 200, b"\n"),
        ("GET", "/health", 200, b"\n"),
        ("GET", "/version", 200, b"."),
        ("GET", "/status", 200, b'"replica":"r1","epochs":{"flights":3}'),
        ("GET", "/v2/models/other", 404, b"this endpoint has flights"),
        ("GET", "/v2/models/flights/versions/9/ready", 404, b"it has 1, 2"),
        ("POST", "/v2/models/flights/versions/9/infer", 404, b"it has 1, 2"),
        ("POST", "/endpoints/other/invocations", 404, b'"error_code":"RESOURCE_DOES_NOT_EXIST"'),
        ("GET", "/", 404, b"there is nothing at /"),
        ("GET", "/v2/nope", 404, b'{"error":'),
        ("POST", "/v2", 405, b"use GET"),
        ("GET", INFER, 405, b"POST"),
        ("DELETE", "/invocations", 405, b'"message"'),
    ],
)
def test_every_route_answers_with_its_status(client, method, path, status, body):
    answer = client(method, path)
    assert answer.status == status
    assert body in answer.body
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert ("allow" in answer.headers) == (status == 405)


def test_a_mounted_endpoint_answers_below_its_root_path(client):
    client.root_path = "/models-of-ours"
    assert client("GET", "/v2/health/ready").status == 200


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "words"),
    [
        (INFER, b"{", {}, 400, "not JSON"),
        (INFER, infer_body(1.0).replace(b"carrier", b"carier"), {}, 400, "did you mean `carrier`"),
        (INFER, infer_body(1.0), {"inference-header-content-length": "10"}, 400, "binary"),
        (INFER, b"x" * 200_001, {}, 413, "200000 bytes"),
        (INFER, b"", {"content-length": "200001"}, 413, "200000 bytes"),
        (INFER, gzip.compress(b"x" * 200_001), {"content-encoding": "gzip"}, 413, "200000 bytes"),
        (INFER, gzip.compress(infer_body(1.0))[:-9], {"content-encoding": "gzip"}, 400, "cut short"),
        (INFER, b"plain", {"content-encoding": "gzip"}, 400, "is not gzip"),
        (INFER, b"x", {"content-encoding": "br"}, 415, "content encoding"),
        (INFER, infer_body(*[1.0] * 5001), {}, 400, "at most 5000"),
        ("/invocations", RECORDS, {"content-type": "text/html"}, 415, "content type"),
        ("/invocations", b"{}", JSON, 400, "send exactly one"),
    ],
)
def test_a_request_that_cannot_be_read_is_refused(client, path, body, headers, status, words):
    answer = client("POST", path, body, headers, chunks=4)
    message = answer.json["message" if path == "/invocations" else "error"]
    assert answer.status == status
    assert words in message
    assert not client.faults


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_bodies_are_read(client, encoding, compress):
    answer = client("POST", INFER, compress(infer_body(1.0)), {"content-encoding": encoding})
    assert answer.json["outputs"][0]["data"] == [2.0]


def test_a_small_body_that_unpacks_to_a_huge_one_is_never_held_whole(client):
    bomb = gzip.compress(bytes(50_000_000))
    tracemalloc.start()
    answer = client("POST", INFER, bomb, {"content-encoding": "gzip"})
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert answer.status == 413
    assert peak_bytes < 5_000_000


def test_an_unforeseen_error_shows_the_client_only_a_request_id(client):
    answer = client("POST", INFER, infer_body(1.0, carrier="bug"), {"x-request-id": "r-2"})
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert b"r-2" in answer.body
    assert [(f.request_id, type(f.error)) for f in client.faults] == [("r-2", ZeroDivisionError)]
    assert client("POST", INFER, infer_body(1.0)).status == 200


@pytest.mark.parametrize("config", [None, user_config(1, None, ("1", "b1")), user_config(1, "1", ("1", "bad"))])
def test_without_a_champion_the_gateway_is_alive_and_not_ready(config):
    switch = Switch(Loader())
    client = Client(reconfigured(switch, config) if config else switch)
    assert client("GET", "/v2/health/live").json == {"ready": False, "live": True}
    assert client("GET", "/ping").status == 404
    for method, path in [("GET", "/v2/health/ready"), ("POST", INFER), ("POST", "/invocations")]:
        answer = client(method, path, RECORDS, JSON)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")


def test_a_candidate_can_be_asked_through_its_version_before_there_is_a_champion():
    client = Client(reconfigured(Switch(Loader()), user_config(1, None, ("1", "b1"))))
    assert client("POST", "/v2/models/flights/versions/1/infer", infer_body(1.0)).status == 200


def test_with_several_models_invocations_must_name_one():
    config = together(user_config(1, "1", ("1", "b1")), user_config(1, "1", ("1", "b2"), name="trains"))
    client = Client(reconfigured(Switch(Loader()), config))
    assert client("POST", "/invocations", RECORDS, JSON).status == 404
    assert client("POST", "/endpoints/trains/invocations", RECORDS, JSON).json == {"predictions": [3.0]}


def test_each_of_two_models_answers_with_the_epoch_of_its_own_release():
    config = together(user_config(7, "1", ("1", "b1")), user_config(2, "4", ("4", "b2"), name="trains"))
    client = Client(reconfigured(Switch(Loader()), config))
    for name, epoch, version in (("flights", 7, "1"), ("trains", 2, "4")):
        answer = client("POST", f"/v2/models/{name}/infer", infer_body(1.0))
        assert (answer.json["model_version"], answer.json["parameters"]["epoch"]) == (version, epoch)
        assert answer.headers["x-raypipe-epoch"] == str(epoch)
        answer = client("POST", f"/endpoints/{name}/invocations", RECORDS, JSON)
        assert (answer.headers["x-raypipe-version"], answer.headers["x-raypipe-epoch"]) == (version, str(epoch))


@pytest.mark.parametrize("digest", ["b2", "bad"])
def test_a_first_candidate_beside_a_champion_takes_nothing_from_it(client, digest):
    reconfigured(client.switch, user_config(1, None, ("1", digest), name="trains"))
    assert client("GET", "/v2/health/ready").status == 200
    assert client("POST", "/invocations", RECORDS, JSON).json == {"predictions": [2.0]}
    assert client("POST", "/v2/models/trains/infer", infer_body(1.0)).status == 503


def test_a_replica_that_lacks_the_champion_of_one_model_is_not_ready():
    config = together(user_config(1, "1", ("1", "b1")), user_config(1, "1", ("1", "bad"), name="trains"))
    client = Client(reconfigured(Switch(Loader()), config))
    assert client("GET", "/v2/health/ready").status == 503
    assert client("POST", "/v2/models/trains/infer", infer_body(1.0)).headers["retry-after"] == "1"
    assert client("POST", INFER, infer_body(1.0)).status == 200


def test_after_an_aborted_bootstrap_the_candidate_answers_nowhere():
    client = Client(reconfigured(Switch(Loader()), user_config(1, None, ("1", "b1"))))
    assert client("POST", "/v2/models/flights/versions/1/infer", infer_body(1.0)).status == 200
    assert client.switch.reconfigure(user_config(2, None)) == ()
    for path in ("/v2/models/flights/versions/1/infer", INFER, "/endpoints/flights/invocations"):
        assert client("POST", path, infer_body(1.0), JSON).status == 404
    assert client("GET", "/v2/models").json == {"models": []}
    assert client("POST", "/invocations", RECORDS, JSON).status == 503
    reconfigured(client.switch, user_config(1, None, ("1", "b1")))
    assert client("POST", "/v2/models/flights/versions/1/infer", infer_body(1.0)).status == 404


def test_after_an_abort_only_the_champion_can_be_asked(client):
    client.switch.reconfigure(user_config(4, "1", ("1", "b1")))
    assert client("POST", "/v2/models/flights/versions/2/infer", infer_body(1.0)).status == 404
    assert client("POST", INFER, infer_body(1.0)).json["parameters"] == {"epoch": 4, "arm": "champion"}


def test_a_large_request_leaves_the_loop_free(client):
    threads = []
    scorer = client.switch.state.models["flights"].champion.scorer
    scored = scorer.score
    scorer.score = lambda table: threads.append(threading.current_thread()) or scored(table)
    assert len(infer_body(*[1.0] * 4000)) > INLINE_BYTES
    assert client("POST", INFER, infer_body(*[1.0] * 4000)).status == 200
    client("POST", INFER, infer_body(1.0))
    assert [t is threading.main_thread() for t in threads] == [False, True]


def test_the_lifespan_scope_is_answered():
    sent = []
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def run():
        with ThreadPoolExecutor(1) as executor:
            app = GatewayApp(Switch(Loader()), executor, replica="r", on_fault=print, reach=None, recorder=Unrecorded())

            async def receive():
                return next(messages)

            async def send(message):
                sent.append(message["type"])

            await app({"type": "lifespan"}, receive, send)

    asyncio.run(run())
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_a_client_that_goes_away_gets_no_answer(client):
    sent = []

    async def run():
        with ThreadPoolExecutor(1) as executor:
            app = GatewayApp(
                client.switch, executor, replica="r", on_fault=client.faults.append, reach=None, recorder=Unrecorded()
            )

            async def receive():
                return {"type": "http.disconnect"}

            async def send(message):
                sent.append(message)

            await app({"type": "http", "method": "POST", "path": INFER, "headers": []}, receive, send)

    asyncio.run(run())
    assert not sent
    assert not client.faults
