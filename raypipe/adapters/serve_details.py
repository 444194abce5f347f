"""What Serve's REST API says and is told, read and written as plain values. Knows its documents; calls nobody."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from raypipe.adapters.gateway_config import GatewayConfig

APPLICATION = "raypipe"
DEPLOYMENT = "gateway"
IMPORT_PATH = "raypipe.adapters.gateway:app"
ROUTE_PREFIX = "/"
_MESSAGE = 500


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


def is_told(details: Mapping[str, Any], application: Mapping[str, Any]) -> bool:
    """Return whether Serve is already at work on exactly this: a PUT would start building it from the beginning."""
    app = details["applications"].get(APPLICATION, {})
    wanted = application["deployments"][0]
    known = (app.get("deployed_app_config") or {}).get("deployments", ())
    told: Mapping[str, Any] = next((d for d in known if d["name"] == DEPLOYMENT), {})
    return all(told.get(key) == value for key, value in wanted.items())


def gave_up(details: Mapping[str, Any]) -> bool:
    """Return whether Serve no longer works on our application, so that telling it again is a new attempt."""
    return details["applications"][APPLICATION]["status"] in ("DEPLOY_FAILED", "DELETING", "NOT_STARTED")


def others(details: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the declarative configurations of everybody else; imperative applications survive a PUT by themselves."""
    configs = (a.get("deployed_app_config") for n, a in details["applications"].items() if n != APPLICATION)
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
