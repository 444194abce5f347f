"""What Serve's REST API says and is told, read and written as plain values. Knows its documents; calls nobody."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import TypeAdapter

from raypipe.adapters.gateway_config import GatewayConfig, VersionConfig
from raypipe.environment import StoreAddress

APPLICATION = "raypipe"
DEPLOYMENT = "gateway"
IMPORT_PATH = "raypipe.adapters.gateway:app"
CHALLENGER = "challenger"
CHALLENGER_IMPORT_PATH = "raypipe.adapters.challenger:app"
ROUTE_PREFIX = "/"
_MESSAGE = 500
_STORE = TypeAdapter(StoreAddress)


def application_config(config: GatewayConfig, replicas: int, cpus_per_replica: float) -> dict[str, Any]:
    """Return our application as Serve is told of it."""
    deployment = {
        "name": DEPLOYMENT,
        "num_replicas": replicas,
        "ray_actor_options": {"num_cpus": cpus_per_replica},
        "user_config": config.model_dump(mode="json"),
    }
    return {
        "name": APPLICATION,
        "route_prefix": ROUTE_PREFIX,
        "import_path": IMPORT_PATH,
        "deployments": [deployment],
    }


def challenger_name(model: str) -> str:
    """Return the name of the application in which a model's challenger runs, alone."""
    return f"{APPLICATION}-challenger-{model}"


def challenger_application(
    model: str, wanted: VersionConfig, store: StoreAddress, replicas: int, cpus_per_replica: float
) -> dict[str, Any]:
    """Return a challenger's application as Serve is told of it; without a route no request reaches it directly."""
    user_config = {"version": wanted.version, "digest": wanted.digest, "bundle": wanted.bundle}
    deployment = {
        "name": CHALLENGER,
        "num_replicas": replicas,
        "ray_actor_options": {"num_cpus": cpus_per_replica},
        "user_config": user_config | {"store": _STORE.dump_python(store, mode="json")},
    }
    return {
        "name": challenger_name(model),
        "route_prefix": None,
        "import_path": CHALLENGER_IMPORT_PATH,
        "deployments": [deployment],
    }


def is_told(details: Mapping[str, Any], application: Mapping[str, Any]) -> bool:
    """Return whether Serve is already at work on exactly this: a PUT would start building it from the beginning."""
    app = details["applications"].get(application["name"], {})
    (wanted,) = application["deployments"]
    known = (app.get("deployed_app_config") or {}).get("deployments", ())
    told: Mapping[str, Any] = next((d for d in known if d["name"] == wanted["name"]), {})
    return all(told.get(key) == value for key, value in wanted.items())


def is_absent(details: Mapping[str, Any], name: str) -> bool:
    """Return whether Serve runs no such application, or is ending it."""
    app = details["applications"].get(name)
    return app is None or app["status"] == "DELETING"


def gave_up(details: Mapping[str, Any]) -> bool:
    """Return whether Serve no longer works on our application, so that telling it again is a new attempt."""
    return details["applications"][APPLICATION]["status"] in ("DEPLOY_FAILED", "DELETING", "NOT_STARTED")


def others(details: Mapping[str, Any], ours: Collection[str]) -> list[dict[str, Any]]:
    """Return the declarative configurations of everybody else; imperative applications survive a PUT by themselves."""
    known = details["applications"].items()
    configs = (a.get("deployed_app_config") for n, a in known if n not in ours and a["status"] != "DELETING")
    return [{k: v for k, v in c.items() if k not in ("host", "port")} for c in configs if c]


def told_user_config(app: Mapping[str, Any]) -> object:
    """Return the gateway's `user_config` as Serve was last told, None where there is none."""
    deployments = (app.get("deployed_app_config") or {}).get("deployments", ())
    return next((d.get("user_config") for d in deployments if d["name"] == DEPLOYMENT), None)


def readable(message: str) -> str:
    """Return a message of Serve in one line of at most 500 characters: how it begins, and how its traceback ends."""
    line = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", message).split())
    half = (_MESSAGE - 5) // 2
    return line if len(line) <= _MESSAGE else f"{line[:half]} ... {line[-half:]}"
