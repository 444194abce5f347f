"""Ray Serve, told what to run through the dashboard's REST API, and asked what it runs.

A PUT replaces the whole set of declarative applications, so those of others, and the other models of ours, are read
first and sent along. With only `user_config` changed, Serve reconfigures the replicas in place. Knows the REST API and
the gateway's `/status`; does not know releases.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson
import requests
import stamina
from pydantic import TypeAdapter, ValidationError

from raypipe.adapters.gateway_config import GatewayConfig, ModelConfig
from raypipe.adapters.gateway_state import GatewayStatus
from raypipe.adapters.serve_details import (
    APPLICATION,
    CHALLENGER,
    DEPLOYMENT,
    ROUTE_PREFIX,
    application_config,
    challenger_name,
    gave_up,
    is_absent,
    is_told,
    others,
    readable,
    told_user_config,
)
from raypipe.environment import SecretRef, StoreAddress
from raypipe.errors import AccessDenied, GenerationMoved, Unavailable

_TIMEOUT_S = 30.0
# An endpoint that fails to answer so often is down, whatever its replicas say: ask again at the next look.
_SILENT = 3
# Each further attempt means that another writer came between reading and writing, within milliseconds.
_ATTEMPTS = 5
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
        Serve's reason, with those of its deployments, in at most 500 characters; empty when all is well.
    expected
        Replicas that should run.
    replicas
        Ids of those that do.
    """

    status: str
    message: str
    expected: int
    replicas: tuple[str, ...]


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
    ) -> None:
        self._applications = f"{dashboard_url.rstrip('/')}/api/serve/applications/"
        self._dashboard_url = dashboard_url
        self._endpoint_url = endpoint_url.rstrip("/")
        self._token = token
        self._session = session or requests.Session()

    def observed(self) -> Observation:
        """Return what Serve says of the gateway."""
        return _observation(self._details(), APPLICATION, DEPLOYMENT)

    def challenger(self, model: str) -> Observation:
        """Return what Serve says of a model's challenger."""
        return _observation(self._details(), challenger_name(model), CHALLENGER)

    def apply(
        self,
        model: ModelConfig,
        *,
        store: StoreAddress,
        replicas: int,
        cpus_per_replica: float = 0.5,
        host: str = "127.0.0.1",
        port: int = 8000,
        challenger: Mapping[str, Any] | None = None,
    ) -> None:
        """Tell Serve to run the gateway with this model; telling it again changes nothing, and all others stay.

        Serve has no compare-and-swap. What was written is read back, and written again where a writer of another model
        replaced it at the same instant. One that writes still later can lose this order until it is applied again.

        Parameters
        ----------
        model
            What every replica serves under its name; the other models of the endpoint stay as they are.
        store
            Where the bundles of the endpoint are.
        replicas, cpus_per_replica
            Of the gateway, shared by its models: the last order is in force. Other cpus restart the replicas.
        host, port
            Where Serve listens; it cannot be moved while it runs.
        challenger
            The model's challenger application as Serve is told of it; without one, it is ended.

        Raises
        ------
        GenerationMoved
            When Serve has already been told a higher generation of this model.
        Unavailable
            When another application answers at our route, Serve listens elsewhere, refuses the configuration, or other
            writers keep replacing it.
        """
        details = self._details()
        self._refuse_late(details, model)
        for attempt in range(_ATTEMPTS):
            self._refuse_conflicts(details, port)
            models = self._models(details)
            found = models.get(model.name)
            if found and found.generation > model.generation:
                return
            config = GatewayConfig(models=tuple((models | {model.name: model}).values()), store=store)
            gateway = application_config(config, replicas, cpus_per_replica)
            beside = challenger_name(model.name)
            told = is_told(details, challenger) if challenger else is_absent(details, beside)
            if told and is_told(details, gateway) and (attempt or not gave_up(details)):
                return
            shared = {key: details[key] for key in _SHARED if details.get(key) is not None}
            body = {"http_options": {"host": host, "port": port}} | shared
            applications = [*others(details, (APPLICATION, beside)), gateway, *([challenger] if challenger else [])]
            self._call("PUT", body | {"applications": applications})
            details = self._details()
        raise self._unavailable(
            f"generation {model.generation} of model {model.name} was replaced {_ATTEMPTS} times by another writer, "
            f"who left {f'generation {found.generation}' if found else 'none'}: find what else configures Serve's "
            f"application {APPLICATION!r}, and run the release again"
        )

    def reported(self, observation: Observation, lease: str | None = None) -> Mapping[str, GatewayStatus]:
        """Return what the replicas say of themselves, by replica id; one that was not reached is absent.

        With the name of a rollout, each of them lets its challenger answer for another while.

        The endpoint spreads connections, so it is asked on new ones until every running replica has answered, or
        twelve times for each (at random that misses one of ten in fewer than 1 in 10,000 looks).
        """
        found: dict[str, GatewayStatus] = {}
        silent = 0
        for _ in range(12 * len(observation.replicas)):
            if found.keys() >= set(observation.replicas) or silent == _SILENT:
                break
            answered = self._status(lease)
            if answered is None:
                silent += 1
            else:
                found[answered[0]] = answered[1]
        return {replica: status for replica, status in found.items() if replica in observation.replicas}

    def _status(self, lease: str | None) -> tuple[str, GatewayStatus] | None:
        url = f"{self._endpoint_url}/status"
        asked = {"lease": lease} if lease else {}
        try:
            # A connection of its own: on a kept one the same replica would answer again.
            answer = self._session.get(url, params=asked, timeout=3, headers={"Connection": "close"})
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

    def _refuse_late(self, details: Mapping[str, Any], model: ModelConfig) -> None:
        found = self._models(details).get(model.name)
        if found and found.generation > model.generation:
            raise GenerationMoved(
                f"Serve runs model {model.name} at generation {found.generation}, generation {model.generation} comes "
                "too late: follow the newer release, or, if the lake was replaced since, start the cluster anew",
                stream=f"{APPLICATION}/{model.name}",
                expected=model.generation,
                found=found.generation,
            )

    def _models(self, details: Mapping[str, Any]) -> dict[str, ModelConfig]:
        user_config = told_user_config(details["applications"].get(APPLICATION, {}))
        if not user_config:
            return {}
        try:
            return {m.name: m for m in GatewayConfig.model_validate(user_config).models}
        except ValidationError as error:
            raise self._unavailable(
                f"Serve's application {APPLICATION!r} has a user_config that is not understood ({error.error_count()} "
                "errors): another version of raypipe wrote it; use that version, or delete the application"
            ) from error

    def _unavailable(self, message: str) -> Unavailable:
        return Unavailable(message, system="serve", address=self._dashboard_url)


def _observation(details: Mapping[str, Any], application: str, deployment_name: str) -> Observation:
    app = details["applications"].get(application)
    if app is None:
        return Observation("NOT_STARTED", "", 0, ())
    deployment = app["deployments"].get(deployment_name, {})
    reasons = [app["message"], *(d["message"] for d in app["deployments"].values() if d["status"] != "HEALTHY")]
    return Observation(
        status=app["status"],
        message=readable("; ".join(r for r in reasons if r)),
        expected=deployment.get("target_num_replicas", 0),
        replicas=tuple(r["replica_id"] for r in deployment.get("replicas", ()) if r["state"] == "RUNNING"),
    )
