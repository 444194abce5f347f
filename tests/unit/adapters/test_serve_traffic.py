"""A target becomes the gateway's configuration, and what replicas say becomes an observation."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest
import requests
from gateway_fakes import COLUMNS, EXAMPLE
from requests.adapters import BaseAdapter

from raypipe.adapters import serve_traffic
from raypipe.adapters.gateway_state import GatewayStatus, RolloutEvidence
from raypipe.adapters.serve_control import Observation
from raypipe.adapters.serve_traffic import ServeTraffic
from raypipe.environment import Endpoints, StoreAddress
from raypipe.protocol import oip
from raypipe.rollout.analysis import ErrorEvidence
from raypipe.rollout.evidence import StepEvidence
from raypipe.rollout.spec import ReleaseSpec, Unit
from raypipe.rollout.state import Challenger, Served, Target

RUNNING = Observation("RUNNING", "", 2, ("a", "b"))
CHALLENGING = Observation("RUNNING", "", 1, ("c",))
V1, V2 = Served("1", "b1"), Served("2", "b2")
SPEC = ReleaseSpec(replicas=2, cpus_per_replica=0.25, unit=Unit(header="X-User-Id"))
TRIED = Challenger(V2, percent=10, shadow_percent=0, salt="pepper")
CANARY = Target(5, V1, (V1,), "flights-3", TRIED, SPEC)


@dataclass
class Control:
    """Says what it was told to say, and keeps what it is told to apply."""

    seen: Observation = RUNNING
    replicas: tuple = ()
    applied: list = field(default_factory=list)
    beside: Observation = CHALLENGING
    leases: list = field(default_factory=list)

    def observed(self):
        return self.seen

    def challenger(self, name):
        return self.beside

    def reported(self, observation, lease=None):
        self.leases.append(lease)
        return {str(i): status for i, status in enumerate(self.replicas)}

    def apply(self, model, **how):
        self.applied.append((model, how))


@dataclass
class Endpoint(BaseAdapter):
    """Answers every request with one score, or fails."""

    score: float = 0.5
    version: str = "2"
    status: int = 200
    failure: Exception | None = None
    asked: list = field(default_factory=list)

    def send(self, request, **_):
        self.asked.append((request.url, oip.parse_infer(request.body, COLUMNS).table))
        if self.failure:
            raise self.failure
        answer = requests.Response()
        origin = oip.Origin("flights", self.version, 5)
        scored = oip.infer_answer(oip.InferRequest(None, EXAMPLE), np.array([self.score]), origin, request_id="q")
        answer.status_code, answer._content = self.status, scored
        return answer

    def close(self):
        pass


def replica(generation=5, champion="1", loaded=(V1, V2), refused=None, wanted=5):
    digests = {"flights": {s.version: s.digest for s in loaded}}
    return GatewayStatus(
        epochs={"flights": generation, "trains": 90},
        wanted={"flights": wanted, "trains": 90},
        champions={"flights": champion, "trains": "7"},
        loaded=digests | {"trains": {"7": "b7"}},
        refused={"trains/2": "of another model", "trains": "of another model"} | (refused or {}),
    )


@pytest.fixture
def control():
    return Control(replicas=(replica(), replica()))


@pytest.fixture
def endpoint():
    return Endpoint()


@pytest.fixture
def traffic(control, endpoint, monkeypatch):
    monkeypatch.setattr(serve_traffic.scoring, "load", lambda bundle: bundle)
    session = requests.Session()
    session.mount("http://", endpoint)
    bundle = SimpleNamespace(columns=COLUMNS, example=EXAMPLE, score=lambda table: np.array([0.5]))
    endpoints = Endpoints(StoreAddress("s3://lake"), "", "", "", "127.0.0.1", 8100, "http://gateway")
    return ServeTraffic(control, endpoints, lambda d: f"s3://lake/bundles/{d}", lambda d: bundle, session=session)


def test_a_target_is_applied_whole(traffic, control):
    traffic.apply("flights", Target(5, V1, (V1, V2), spec=SPEC))
    ((model, how),) = control.applied
    assert (model.generation, model.name, model.champion) == (5, "flights", "1")
    assert [(v.version, v.digest, v.bundle) for v in model.loaded] == [
        ("1", "b1", "s3://lake/bundles/b1"),
        ("2", "b2", "s3://lake/bundles/b2"),
    ]
    where = {"store": StoreAddress("s3://lake"), "host": "127.0.0.1", "port": 8100}
    assert how == where | {"replicas": 2, "cpus_per_replica": 0.25, "challenger": None}


def test_before_there_is_a_champion_none_is_named(traffic, control):
    traffic.apply("flights", Target(1, None, (V1,)))
    assert control.applied[0][0].champion is None


def test_with_nothing_to_load_the_model_is_withdrawn(traffic, control):
    traffic.apply("flights", Target(2, None, ()))
    ((model, _),) = control.applied
    assert (model.generation, model.champion, model.loaded) == (2, None, ())


def test_an_order_is_a_boundary_where_a_run_can_be_killed(traffic, monkeypatch, tmp_path):
    monkeypatch.setenv("RAYPIPE_BOUNDARIES", str(tmp_path / "reached"))
    traffic.apply("flights", Target(1, None, (V1,)))
    assert (tmp_path / "reached").read_text() == "before apply traffic: flights 1\nafter apply traffic: flights 1\n"


def test_a_candidate_ready_everywhere_is_tried_with_its_example(traffic, endpoint):
    seen = traffic.observe("flights", Target(5, V1, (V1, V2)), smoke=True)
    assert (seen.expected, seen.prepared, seen.refused, seen.smoke) == (2, 2, None, True)
    assert seen.smoke_message == "its 1 example rows score as in validation"
    ((url, table),) = endpoint.asked
    assert url == "http://gateway/v2/models/flights/versions/2/infer"
    assert table == EXAMPLE


@pytest.mark.parametrize(
    ("change", "smoke", "words"),
    [
        ({"score": 0.5001}, False, "differ by"),
        ({"score": math.nan}, False, "differ by nan"),
        ({"version": "1"}, False, "version 1 answered"),
        ({"status": 500}, False, "with 500"),
        ({"status": 503}, None, "not ready"),
        ({"failure": requests.ConnectionError("refused")}, None, "does not answer"),
    ],
)
def test_a_candidate_that_answers_otherwise_fails_and_one_that_does_not_answer_is_not_judged(
    traffic, endpoint, change, smoke, words
):
    for name, value in change.items():
        setattr(endpoint, name, value)
    seen = traffic.observe("flights", Target(5, V1, (V1, V2)), smoke=True)
    assert seen.smoke is smoke
    assert words in seen.smoke_message


@pytest.mark.parametrize(
    ("replicas", "prepared", "refused"),
    [
        ((replica(),), 1, None),
        ((replica(), replica(loaded=(V1,))), 1, None),
        ((replica(), replica(loaded=(V1, Served("2", "other bytes")))), 1, None),
        ((replica(), replica(loaded=(V1,), refused={"flights/2": "BundleRefused"})), 1, "BundleRefused"),
        ((replica(), replica(loaded=(V1,), wanted=4, refused={"flights/2": "in the release before"})), 1, None),
        ((replica(), replica(refused={"flights/1": "not the candidate"})), 2, None),
        ((replica(), replica(loaded=(V1,), refused={"flights": "orders two things"})), 1, "orders two things"),
        ((replica(), replica(wanted=4, loaded=(V1,), refused={"user_config": "is wrong"})), 1, "is wrong"),
        ((replica(), replica(refused={"user_config": "a later order is wrong"})), 2, None),
        ((), 0, None),
    ],
)
def test_a_replica_counts_only_with_the_very_bundle_loaded(traffic, control, endpoint, replicas, prepared, refused):
    control.replicas = replicas
    seen = traffic.observe("flights", Target(5, V1, (V1, V2)), smoke=True)
    assert (seen.expected, seen.prepared, seen.refused) == (2, prepared, refused)
    assert bool(endpoint.asked) == (prepared == 2)


def test_only_replicas_with_the_champion_of_this_generation_serve_it(traffic, control, endpoint):
    control.replicas = (replica(champion="2"), replica(champion="2", generation=4), replica(champion="1"))
    assert traffic.observe("flights", Target(5, V2, (V2, V1)), smoke=False).serving == 1
    assert not endpoint.asked


def test_a_failed_deployment_refuses_with_serves_reason(traffic, control):
    for status in ("DEPLOY_FAILED", "UNHEALTHY"):
        control.seen = Observation(status, "no module", 2, ())
        seen = traffic.observe("flights", Target(5, V1, (V1, V2)), smoke=True)
        assert (seen.prepared, seen.refused) == (0, f"Serve says {status}: no module")


def test_a_replica_that_died_beside_one_that_runs_is_not_the_candidates_fault(traffic, control):
    control.seen, control.replicas = Observation("UNHEALTHY", "a replica died", 2, ("a",)), (replica(),)
    seen = traffic.observe("flights", Target(5, V1, (V1, V2)), smoke=True)
    assert (seen.expected, seen.prepared, seen.refused) == (2, 1, None)


def test_without_replicas_nothing_is_ready(traffic, control):
    control.seen, control.replicas = Observation("NOT_STARTED", "", 0, ()), ()
    seen = traffic.observe("flights", Target(5, V1, (V1,)), smoke=True)
    assert (seen.expected, seen.smoke) == (0, None)
    assert seen.refused is None


def test_a_challenger_is_ordered_in_an_application_of_its_own(traffic, control):
    traffic.apply("flights", CANARY)
    ((model, how),) = control.applied
    tried = model.challenger
    assert (model.rollout, tried.version, tried.percent, tried.shadow_percent) == ("flights-3", "2", 10, 0)
    assert (tried.salt, tried.unit_header, tried.columns) == ("pepper", "x-user-id", COLUMNS)
    application = how["challenger"]
    assert application["name"] == tried.application == "raypipe-challenger-flights"
    assert application["route_prefix"] is None
    assert application["deployments"][0]["user_config"]["bundle"] == "s3://lake/bundles/b2"
    assert "2" not in {v.version for v in model.loaded}


def test_a_challenger_is_tried_through_its_pinned_version_once_it_runs_and_the_gateways_know_it(
    traffic, control, endpoint
):
    control.beside = Observation("DEPLOYING", "", 1, ())
    assert traffic.observe("flights", CANARY, smoke=True).smoke is None
    control.beside = Observation("RUNNING", "", 1, ("c",))
    control.replicas = (replica(), replica(generation=4))
    assert traffic.observe("flights", CANARY, smoke=True).smoke is None
    assert not endpoint.asked
    control.replicas = (replica(), replica())
    seen = traffic.observe("flights", CANARY, smoke=True)
    assert (seen.smoke, seen.challenger_ready, seen.challenger_expected) == (True, 1, 1)


def test_a_challenger_that_cannot_be_deployed_refuses_with_serves_reason(traffic, control):
    control.beside = Observation("DEPLOY_FAILED", "BundleRefused", 1, ())
    assert "BundleRefused" in traffic.observe("flights", CANARY, smoke=True).refused
    control.beside = Observation("UNHEALTHY", "it crashed and is started again", 1, ())
    assert traffic.observe("flights", CANARY, smoke=False).refused is None


def test_trouble_of_the_gateways_is_no_fault_of_a_challenger_beside_them(traffic, control):
    control.replicas = (replica(), replica(loaded=(), refused={"flights/1": "Unavailable: the store is away"}))
    assert traffic.observe("flights", CANARY, smoke=False).refused is None
    control.seen = Observation("UNHEALTHY", "out of memory", 2, ())
    seen = traffic.observe("flights", CANARY, smoke=False)
    assert (seen.expected, seen.serving, seen.refused) == (2, 0, None)


def test_evidence_is_that_of_this_rollout_by_generation_and_replica(traffic, control):
    def counted(rollout, n):
        return {"flights": RolloutEvidence(rollout, {5: StepEvidence(ErrorEvidence(n), circuit_open_s=n)}, 30.0)}

    control.replicas = (
        replace(replica(), evidence=counted("flights-3", 7)),
        replace(replica(), evidence=counted("flights-3", 4)),
        replace(replica(), evidence=counted("flights-1", 100)),
    )
    seen = traffic.observe("flights", CANARY, smoke=False)
    assert [e.challenger_requests for e in seen.evidence.errors()] == [11]
    assert set(seen.evidence.parts) == {(5, "0"), (5, "1")}
    assert seen.circuit_open_s == 7


def test_only_who_judges_prolongs_the_lease(traffic, control):
    traffic.observe("flights", CANARY, smoke=False)
    traffic.observe("flights", CANARY, smoke=False, lease=False)
    traffic.observe("flights", Target(5, V1, (V1, V2)), smoke=False)
    assert control.leases == ["flights-3", None, None]
