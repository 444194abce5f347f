"""Serve's REST API through a fake transport: what is sent, what survives, and what each failure says."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import orjson
import pytest
import requests
import stamina
from gateway_fakes import together, user_config
from requests.adapters import BaseAdapter

from raypipe.adapters.gateway_config import GatewayConfig, ModelConfig, VersionConfig
from raypipe.adapters.serve_control import ServeControl
from raypipe.adapters.serve_details import challenger_application
from raypipe.environment import SecretRef, StoreAddress
from raypipe.errors import AccessDenied, GenerationMoved, Unavailable

STORE = StoreAddress("s3://lake")
THEIRS = {
    "name": "theirs",
    "route_prefix": "/theirs",
    "import_path": "their:app",
    "runtime_env": {"env_vars": {"A": "b"}},
}


@dataclass
class Cluster(BaseAdapter):
    """A dashboard that runs what it is PUT, and an endpoint whose replicas answer in turn.

    `meanwhile` are the `user_config`s that another writer PUTs, one after each of ours.
    """

    details: dict = field(default_factory=lambda: {"applications": {}, "target_capacity": None})
    replicas: dict = field(default_factory=dict)
    put: list = field(default_factory=list)
    tokens: list = field(default_factory=list)
    failure: object = None
    meanwhile: list = field(default_factory=list)
    asked: int = 0
    asked_for: list = field(default_factory=list)

    def send(self, request, **_):
        answer = requests.Response()
        answer.request, answer.url, answer.status_code, answer._content = request, request.url, 200, b""
        if "/status" in request.url:
            self.asked_for.append(request.url.partition("?")[2])
            if not self.replicas:
                raise requests.ConnectionError("refused")
            replica = list(self.replicas)[self.asked % len(self.replicas)]
            self.asked += 1
            answer._content = orjson.dumps({"replica": replica} | self.replicas[replica])
            return answer
        self.tokens.append(request.headers.get("Authorization"))
        if isinstance(self.failure, Exception):
            raise self.failure
        if isinstance(self.failure, int):
            answer.status_code, answer._content = self.failure, b"because"
        elif request.method == "PUT":
            body = orjson.loads(request.body)
            self.put.append(copy.deepcopy(body))
            (ours,) = (a for a in body["applications"] if a["name"] == "raypipe")
            if self.meanwhile:
                ours["deployments"][0]["user_config"] = self.meanwhile.pop(0)
            app = self.details["applications"].get("raypipe", {"status": "DEPLOYING", "route_prefix": "/"})
            self.details["applications"]["raypipe"] = app | {"deployed_app_config": ours}
            beside = [a for a in body["applications"] if "challenger" in a["name"]]
            running = {"status": "DEPLOYING", "message": "", "route_prefix": None, "deployments": {}}
            for name in [n for n in self.details["applications"] if "challenger" in n]:
                self.details["applications"][name]["status"] = "DELETING"
            for a in beside:
                self.details["applications"][a["name"]] = running | {"deployed_app_config": a}
        else:
            answer._content = orjson.dumps(self.details)
        return answer

    def close(self):
        pass


def status(generation, *, wanted=None, refused=None):
    return {
        "epochs": {"flights": generation},
        "wanted": {"flights": wanted or generation},
        "champions": {"flights": "1"},
        "loaded": {"flights": {"1": "b1"}},
        "refused": refused or {},
    }


def application(generation, *, replicas=("a", "b"), state="RUNNING", message="", target=2):
    gateway = {
        "status": "HEALTHY" if state == "RUNNING" else "UPDATING",
        "message": f"{message} of gateway" if message else "",
        "target_num_replicas": target,
        "replicas": [{"replica_id": r, "state": "RUNNING"} for r in replicas]
        + [{"replica_id": "z", "state": "STARTING"}],
    }
    config = {"deployments": [{"name": "gateway", "user_config": user_config(generation, "1", ("1", "b1"))}]}
    return {
        "status": state,
        "message": message,
        "route_prefix": "/",
        "deployments": {"gateway": gateway},
        "deployed_app_config": config,
    }


def foreign(config=THEIRS, route_prefix="/theirs"):
    return {
        "status": "RUNNING",
        "message": "",
        "route_prefix": route_prefix,
        "deployments": {},
        "deployed_app_config": config,
    }


def model(generation, name="flights", champion="1"):
    (made,) = user_config(generation, champion, ("1", "b1"), name=name)["models"]
    return ModelConfig.model_validate(made)


def ordered(body):
    """Return the generation that a PUT orders of each model."""
    (ours,) = (a for a in body["applications"] if a["name"] == "raypipe")
    config = GatewayConfig.model_validate(ours["deployments"][0]["user_config"])
    assert config.store == STORE
    return {m.name: m.generation for m in config.models}


@pytest.fixture
def cluster():
    return Cluster()


@pytest.fixture
def control(cluster, tmp_path):
    (tmp_path / "token").write_text("t0ken\n")
    session = requests.Session()
    session.mount("http://", cluster)
    return ServeControl(
        "http://head:8265/",
        "http://gateway:8000",
        SecretRef(file=str(tmp_path / "token")),
        session=session,
    )


@pytest.fixture(autouse=True)
def _without_waiting():
    with stamina.set_testing(True, attempts=2):
        yield


def test_the_first_apply_starts_serve_with_our_application(cluster, control):
    control.apply(model(1), store=STORE, replicas=2, cpus_per_replica=0.25, host="127.0.0.1", port=8000)
    (body,) = cluster.put
    assert body["http_options"] == {"host": "127.0.0.1", "port": 8000}
    (ours,) = body["applications"]
    assert (ours["name"], ours["route_prefix"], ours["import_path"]) == ("raypipe", "/", "raypipe.adapters.gateway:app")
    (gateway,) = ours["deployments"]
    assert gateway["num_replicas"] == 2
    assert gateway["ray_actor_options"] == {"num_cpus": 0.25}
    assert GatewayConfig.model_validate(gateway["user_config"]) == GatewayConfig(models=(model(1),), store=STORE)
    assert cluster.tokens == ["Bearer t0ken"] * 3


def test_applications_and_settings_of_others_survive(cluster, control):
    grpc = {"port": 9001, "grpc_servicer_functions": ["x:y"]}
    http = {"host": "0.0.0.0", "port": 8000, "request_timeout_s": 9}
    cluster.details |= {"http_options": http, "grpc_options": grpc, "proxy_location": "HeadOnly", "target_capacity": 50}
    imperative = foreign(None, "/imperative")
    cluster.details["applications"] = {"theirs": foreign(), "by-hand": imperative, "raypipe": application(1)}
    control.apply(model(2), store=STORE, replicas=1, host="127.0.0.1", port=8000)
    (body,) = cluster.put
    assert THEIRS in body["applications"]
    assert [a["name"] for a in body["applications"]] == ["theirs", "raypipe"]
    assert {k: body[k] for k in ("http_options", "grpc_options", "proxy_location", "target_capacity")} == {
        "http_options": http,
        "grpc_options": grpc,
        "proxy_location": "HeadOnly",
        "target_capacity": 50,
    }


def test_only_the_user_config_differs_between_generations(cluster, control):
    for generation in (1, 2):
        control.apply(model(generation), store=STORE, replicas=1)
    first, second = (body["applications"][0] for body in cluster.put)
    assert first["deployments"][0].pop("user_config") != second["deployments"][0].pop("user_config")
    assert first == second


@pytest.mark.parametrize(("state", "puts"), [("DEPLOYING", 1), ("RUNNING", 1), ("DEPLOY_FAILED", 2)])
def test_the_same_order_is_put_again_only_where_it_failed(cluster, control, state, puts):
    control.apply(model(1), store=STORE, replicas=1)
    cluster.details["applications"]["raypipe"]["status"] = state
    control.apply(model(1), store=STORE, replicas=1)
    assert len(cluster.put) == puts


def test_more_replicas_for_the_same_models_are_ordered(cluster, control):
    control.apply(model(1), store=STORE, replicas=1)
    control.apply(model(1), store=STORE, replicas=2)
    assert [b["applications"][0]["deployments"][0]["num_replicas"] for b in cluster.put] == [1, 2]


def test_our_route_in_other_hands_is_refused(cluster, control):
    cluster.details["applications"] = {"theirs": foreign(route_prefix="/")}
    with pytest.raises(Unavailable, match="'theirs' already answers at /"):
        control.apply(model(1), store=STORE, replicas=1)
    assert not cluster.put


def test_serve_on_another_port_is_refused_with_both_ports(cluster, control):
    cluster.details["http_options"] = {"host": "127.0.0.1", "port": 8100}
    with pytest.raises(Unavailable, match=r"listens on port 8100, the environment says 8000"):
        control.apply(model(1), store=STORE, replicas=1, port=8000)


def test_a_late_writer_does_not_overwrite_a_newer_generation(cluster, control):
    cluster.details["applications"] = {"raypipe": application(7)}
    with pytest.raises(GenerationMoved) as moved:
        control.apply(model(6), store=STORE, replicas=1)
    assert "at generation 7, generation 6 comes too late" in str(moved.value)
    assert (moved.value.expected, moved.value.found) == (6, 7)
    assert not cluster.put


def test_an_observation_counts_what_runs(cluster, control):
    assert control.observed().status == "NOT_STARTED"
    cluster.details["applications"] = {"raypipe": application(4, state="UNHEALTHY", message="no memory")}
    seen = control.observed()
    assert (seen.status, seen.expected, seen.replicas) == ("UNHEALTHY", 2, ("a", "b"))
    assert seen.message == "no memory; no memory of gateway"


def test_a_traceback_of_serve_is_told_in_one_readable_line(cluster, control):
    traceback = (
        "The deployment failed to start.\n\x1b[36mray::Replica\x1b[39m\n" + "  File here\n" * 200 + "KeyError: 'x'"
    )
    cluster.details["applications"] = {"raypipe": application(4, state="DEPLOY_FAILED", message=traceback)}
    message = control.observed().message
    assert len(message) <= 500
    assert message.startswith("The deployment failed to start. ray::Replica File here")
    assert message.endswith("KeyError: 'x' of gateway")
    assert "\n" not in message


def test_a_second_model_joins_the_endpoint_and_each_moves_by_itself(cluster, control):
    for order in (model(1), model(2), model(1, "trains", None), model(3), model(2, "trains")):
        control.apply(order, store=STORE, replicas=1)
    assert [ordered(body) for body in cluster.put] == [
        {"flights": 1},
        {"flights": 2},
        {"flights": 2, "trains": 1},
        {"flights": 3, "trains": 1},
        {"flights": 3, "trains": 2},
    ]
    with pytest.raises(GenerationMoved, match="model trains at generation 2, generation 1 "):
        control.apply(model(1, "trains", None), store=STORE, replicas=1)


def test_an_order_that_another_writer_replaced_is_repaired_with_the_other_kept(cluster, control):
    cluster.details["applications"] = {"raypipe": application(1)}
    cluster.meanwhile = [together(user_config(1, "1", ("1", "b1")), user_config(5, "1", ("1", "b3"), name="trains"))]
    control.apply(model(2), store=STORE, replicas=1)
    assert [ordered(body) for body in cluster.put] == [{"flights": 2}, {"flights": 2, "trains": 5}]


def test_an_order_that_a_newer_one_replaced_is_left(cluster, control):
    cluster.meanwhile = [user_config(3, "1", ("1", "b1"))]
    control.apply(model(2), store=STORE, replicas=1)
    assert len(cluster.put) == 1


def test_an_order_that_is_replaced_again_and_again_is_given_up(cluster, control):
    cluster.meanwhile = [user_config(1, "1", ("1", "b1"))] * 9
    with pytest.raises(Unavailable, match=r"generation 2 of model flights was replaced 5 times .* left generation 1"):
        control.apply(model(2), store=STORE, replicas=1)
    assert len(cluster.put) == 5


def test_a_configuration_of_another_version_is_never_overwritten(cluster, control):
    cluster.details["applications"] = {"raypipe": application(1)}
    (deployment,) = cluster.details["applications"]["raypipe"]["deployed_app_config"]["deployments"]
    deployment["user_config"] = {"models": [], "of": "the future"}
    with pytest.raises(Unavailable, match="another version of raypipe wrote it"):
        control.apply(model(2), store=STORE, replicas=1)
    assert not cluster.put


def challenger(name="flights", digest="b2"):
    wanted = VersionConfig(version="2", digest=digest, bundle=f"s3://lake/bundles/{digest}")
    return challenger_application(name, wanted, STORE, 1, 0.25)


def test_a_challenger_runs_beside_the_gateway_until_it_is_no_longer_ordered(cluster, control):
    cluster.details["applications"]["theirs"] = foreign()
    control.apply(model(1), store=STORE, replicas=1, challenger=challenger())
    assert [a["name"] for a in cluster.put[-1]["applications"]] == ["theirs", "raypipe", "raypipe-challenger-flights"]
    control.apply(model(1), store=STORE, replicas=1, challenger=challenger())
    assert len(cluster.put) == 1
    control.apply(model(2), store=STORE, replicas=1, challenger=challenger(digest="b3"))
    told = cluster.put[-1]["applications"][-1]["deployments"][0]["user_config"]
    assert (told["digest"], told["store"]["lake"]) == ("b3", "s3://lake")
    control.apply(model(3), store=STORE, replicas=1)
    assert [a["name"] for a in cluster.put[-1]["applications"]] == ["theirs", "raypipe"]
    control.apply(model(3), store=STORE, replicas=1)
    assert len(cluster.put) == 3


def test_another_models_challenger_stays(cluster, control):
    control.apply(model(1), store=STORE, replicas=1, challenger=challenger())
    control.apply(model(1, name="trains"), store=STORE, replicas=1, challenger=challenger("trains"))
    names = {a["name"] for a in cluster.put[-1]["applications"]}
    assert names == {"raypipe", "raypipe-challenger-flights", "raypipe-challenger-trains"}


def test_a_challenger_is_observed_like_the_gateway(cluster, control):
    assert control.challenger("flights").status == "NOT_STARTED"
    replicas = [{"replica_id": "c1", "state": "RUNNING"}]
    running = {"challenger": {"status": "HEALTHY", "target_num_replicas": 1, "replicas": replicas}}
    cluster.details["applications"]["raypipe-challenger-flights"] = foreign() | {"deployments": running}
    seen = control.challenger("flights")
    assert (seen.status, seen.expected, seen.replicas) == ("RUNNING", 1, ("c1",))


def test_who_judges_names_the_rollout_whose_lease_it_prolongs(cluster, control):
    cluster.details["applications"]["raypipe"] = application(3, replicas=("a",))
    cluster.replicas = {"a": status(3)}
    control.reported(control.observed(), "flights-3")
    control.reported(control.observed())
    assert cluster.asked_for == ["lease=flights-3", ""]


def test_each_replica_is_heard_and_strangers_are_not(cluster, control):
    cluster.details["applications"] = {"raypipe": application(4)}
    cluster.replicas = {"a": status(4), "gone": status(3), "b": status(3, wanted=4)}
    reported = control.reported(control.observed())
    assert {r: s.epochs["flights"] for r, s in reported.items()} == {"a": 4, "b": 3}


@pytest.mark.parametrize(
    ("failure", "error", "words"),
    [
        (401, AccessDenied, "refuses this token \\(401\\)"),
        (403, AccessDenied, "check `token`"),
        (400, Unavailable, "answers GET with 400: because"),
        (503, Unavailable, "503: because"),
        (requests.ConnectionError("refused"), Unavailable, "does not answer .*refused"),
        (requests.Timeout("slow"), Unavailable, "does not answer .*slow"),
    ],
)
def test_a_failing_dashboard_is_told_in_one_sentence(cluster, control, failure, error, words):
    cluster.failure = failure
    with pytest.raises(error, match=words) as told:
        control.observed()
    assert "t0ken" not in str(told.value)
    assert len(cluster.tokens) == (2 if isinstance(failure, requests.ConnectionError) else 1)


def test_no_token_means_no_authorization_header(cluster):
    session = requests.Session()
    session.mount("http://", cluster)
    ServeControl("http://head:8265", "http://gateway:8000", session=session).observed()
    assert cluster.tokens == [None]
