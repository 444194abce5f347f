"""Ray Serve, told what to run through the dashboard's REST API, and asked what it runs.

A PUT replaces the whole set of declarative applications, so those of others are read first and sent along. With
only `user_config` changed, Serve reconfigures the replicas in place. Knows the REST API and the gateway's
`/status`; does not know releases.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson
import requests
import stamina
from pydantic import TypeAdapter, ValidationError

from raypipe.adapters.gateway_config import GatewayConfig
from raypipe.adapters.gateway_state import GatewayStatus
from raypipe.environment import SecretRef
from raypipe.errors import AccessDenied, GenerationMoved, Unavailable

APPLICATION = "raypipe"
DEPLOYMENT = "gateway"
IMPORT_PATH = "raypipe.adapters.gateway:app"
ROUTE_PREFIX = "/"
_TIMEOUT_S = 30.0
# An endpoint that fails to answer so often is down, whatever its replicas say: ask again at the next look.
_SILENT = 3
_STATUS = TypeAdapter(GatewayStatus)
# Without these a PUT would reset what somebody else set for the whole Serve instance.
_SHARED = ("proxy_location", "http_options", "grpc_options", "target_capacity")


@dataclass(frozen=True, slots=True)
class Observation:
    """What Serve says of our application.

    Parameters
    ----------
    status
        Serve's word: NOT_STARTED, DEPLOYING, RUNNING, UNHEALTHY, DEPLOY_FAILED, DELETING.
    message
        Serve's reason, with those of its deployments; empty when all is well.
    expected
        Replicas that should run.
    replicas
        Ids of those that do.
    generation
        The generation that Serve was last told; 0 where none.
    """

    status: str
    message: str
    expected: int
    replicas: tuple[str, ...]
    generation: int


class ServeControl:
    """The gateway application on one Ray cluster.

    Parameters
    ----------
    dashboard_url
        Address of the Ray dashboard, such as `http://127.0.0.1:8265`.
    endpoint_url
        Address at which the gateway answers, such as `http://127.0.0.1:8000`.
    token
        Ray's authentication token; read at every call.
    session
        HTTP session; tests mount a fake transport on it.
    now, pause
        Monotonic clock in seconds, and how to let time pass.

    Raises
    ------
    Unavailable
        From every method, when the dashboard does not answer.
    AccessDenied
        From every method, when it refuses the token.
    """

    def __init__(
        self,
        dashboard_url: str,
        endpoint_url: str,
        token: SecretRef | None = None,
        *,
        session: requests.Session | None = None,
        now: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._applications = f"{dashboard_url.rstrip('/')}/api/serve/applications/"
        self._dashboard_url = dashboard_url
        self._endpoint_url = endpoint_url.rstrip("/")
        self._token = token
        self._session = session or requests.Session()
        self._now = now
        self._pause = pause

    def observed(self) -> Observation:
        """Return what Serve says of our application."""
        app = self._details()["applications"].get(APPLICATION)
        if app is None:
            return Observation("NOT_STARTED", "", 0, (), 0)
        deployment = app["deployments"].get(DEPLOYMENT, {})
        reasons = [app["message"], *(d["message"] for d in app["deployments"].values() if d["status"] != "HEALTHY")]
        return Observation(
            status=app["status"],
            message="; ".join(r for r in reasons if r),
            expected=deployment.get("target_num_replicas", 0),
            replicas=tuple(r["replica_id"] for r in deployment.get("replicas", ()) if r["state"] == "RUNNING"),
            generation=_generation(app),
        )

    def apply(
        self,
        config: GatewayConfig,
        *,
        replicas: int,
        cpus_per_replica: float = 0.5,
        host: str = "127.0.0.1",
        port: int = 8000,
        import_path: str = IMPORT_PATH,
    ) -> None:
        """Tell Serve to run the gateway so; telling it again changes nothing, and other applications stay.

        Parameters
        ----------
        config
            What every replica serves.
        host, port
            Where Serve listens; it cannot be moved while it runs.

        Raises
        ------
        GenerationMoved
            When Serve has already been told a higher generation.
        Unavailable
            When another application answers at our route, Serve listens elsewhere, or it refuses the configuration.
        """
        details = self._details()
        _refuse_late(details, config.generation)
        self._refuse_conflicts(details, port)
        shared = {key: details[key] for key in _SHARED if details.get(key) is not None}
        application = _application(config, replicas, cpus_per_replica, import_path)
        body = {"http_options": {"host": host, "port": port}} | shared
        self._call("PUT", body | {"applications": [*_others(details), application]})

    def reported(self, observation: Observation) -> Mapping[str, GatewayStatus]:
        """Return what the replicas say of themselves, by replica id; one that was not reached is absent.

        The endpoint spreads connections, so it is asked on new ones until every running replica has answered, or
        twelve times for each (at random that misses one of ten in fewer than 1 in 10,000 looks).
        """
        found: dict[str, GatewayStatus] = {}
        silent = 0
        for _ in range(12 * len(observation.replicas)):
            if found.keys() >= set(observation.replicas) or silent == _SILENT:
                break
            answered = self._status()
            if answered is None:
                silent += 1
            else:
                found[answered[0]] = answered[1]
        return {replica: status for replica, status in found.items() if replica in observation.replicas}

    def wait_until_in_force(self, generation: int, *, deadline_s: float) -> None:
        """Return once every expected replica has `generation` or a later one in force, with nothing refused.

        Raises
        ------
        Unavailable
            When a replica refuses a bundle, Serve says DEPLOY_FAILED, or `deadline_s` pass first; with the reasons.
        """
        end = self._now() + deadline_s
        while True:
            observation = self.observed()
            reported = self.reported(observation) if observation.status == "RUNNING" else {}
            # A replica that has not heard of this generation yet may still tell why it refused the one before.
            heard = [s.refused for s in reported.values() if s.wanted >= generation]
            refused = sorted({f"{name}: {reason}" for refusals in heard for name, reason in refusals.items()})
            if refused:
                raise self._unavailable(f"a replica refuses generation {generation}: {'; '.join(refused)}")
            if observation.status == "DEPLOY_FAILED":
                raise self._unavailable(f"Serve cannot run the gateway: {observation.message}")
            ready = sum(s.generation >= generation for s in reported.values())
            if 0 < observation.expected <= ready:
                return
            if self._now() >= end:
                raise self._unavailable(
                    f"generation {generation} is in force in {ready} of {observation.expected} replicas after "
                    f"{deadline_s:g} s; Serve says {observation.status}: {observation.message or 'nothing more'}"
                )
            self._pause(0.25)

    def _status(self) -> tuple[str, GatewayStatus] | None:
        try:
            # A connection of its own: on a kept one the same replica would answer again.
            answer = self._session.get(f"{self._endpoint_url}/status", timeout=3, headers={"Connection": "close"})
            body = orjson.loads(answer.content)
            return body.pop("replica"), _STATUS.validate_python(body)
        except (requests.RequestException, orjson.JSONDecodeError, ValidationError, KeyError, AttributeError):
            return None  # not up yet, or not ours; whoever waits has a deadline

    def _details(self) -> dict[str, Any]:
        details: dict[str, Any] = orjson.loads(self._call("GET").content)
        return {"applications": {}} | details

    def _call(self, method: str, body: object = None) -> requests.Response:
        headers = {"Authorization": f"Bearer {self._token.read()}"} if self._token else {}
        with self._translated():
            for attempt in stamina.retry_context(on=requests.ConnectionError, attempts=4, wait_initial=0.2):
                with attempt:
                    answer = self._session.request(
                        method, self._applications, json=body, headers=headers, timeout=_TIMEOUT_S
                    )
        if answer.status_code in (401, 403):
            raise AccessDenied(
                f"the Ray dashboard at {self._dashboard_url} refuses this token ({answer.status_code}): check `token` "
                "under `ray` in the environment file",
                system="serve",
                address=self._dashboard_url,
            )
        if not answer.ok:
            raise self._unavailable(f"Serve answers {method} with {answer.status_code}: {answer.text[:2000]}")
        return answer

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except requests.RequestException as error:
            raise self._unavailable(
                f"the Ray dashboard at {self._dashboard_url} does not answer ({error}): is the cluster running? "
                "Locally, `raypipe up` starts it"
            ) from error

    def _refuse_conflicts(self, details: Mapping[str, Any], port: int) -> None:
        for name, app in details["applications"].items():
            if name != APPLICATION and app.get("route_prefix") == ROUTE_PREFIX and app["status"] != "DELETING":
                raise self._unavailable(
                    f"the Serve application {name!r} already answers at {ROUTE_PREFIX} on this cluster: delete it or "
                    "move it to another route prefix, for clients of the standard expect /v2 at the root"
                )
        listens = (details.get("http_options") or {}).get("port", port)
        if listens != port:
            raise self._unavailable(
                f"Serve already listens on port {listens}, the environment says {port}, and it cannot move while it "
                f"runs: set `serve.port` to {listens}, or shut Serve down"
            )

    def _unavailable(self, message: str) -> Unavailable:
        return Unavailable(message, system="serve", address=self._dashboard_url)


def _application(config: GatewayConfig, replicas: int, cpus_per_replica: float, import_path: str) -> dict[str, Any]:
    deployment = {
        "name": DEPLOYMENT,
        "num_replicas": replicas,
        "ray_actor_options": {"num_cpus": cpus_per_replica},
        "user_config": config.model_dump(mode="json"),
    }
    return {
        "name": APPLICATION,
        "route_prefix": ROUTE_PREFIX,
        "import_path": import_path,
        "deployments": [deployment],
    }


def _refuse_late(details: Mapping[str, Any], generation: int) -> None:
    found = _generation(details["applications"].get(APPLICATION, {}))
    if found > generation:
        raise GenerationMoved(
            f"Serve runs generation {found}, generation {generation} comes too late: follow the newer release",
            stream=APPLICATION,
            expected=generation,
            found=found,
        )


def _others(details: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the declarative configurations of everybody else; imperative applications survive a PUT by themselves."""
    configs = (a.get("deployed_app_config") for n, a in details["applications"].items() if n != APPLICATION)
    return [{k: v for k, v in c.items() if k not in ("host", "port")} for c in configs if c]


def _generation(app: Mapping[str, Any]) -> int:
    for deployment in (app.get("deployed_app_config") or {}).get("deployments", ()):
        if deployment["name"] == DEPLOYMENT:
            return int((deployment.get("user_config") or {}).get("generation", 0))
    return 0
