"""Runs the command line in forked children and kills those that stop at a boundary.

Reads one JSON object a line: {"arguments": [...], "stop_at": "before ..." or null, "boundaries": file}; answers one:
{"killed": bool, "code": int | null}. Forking after the imports saves each run its slowest seconds.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import mlflow.pyfunc  # noqa: F401  imported once for all children
import pandas  # noqa: F401
import torch  # noqa: F401

from raypipe.adapters.ray_session import authenticate
from raypipe.cli import build, report_errors
from raypipe.config import load_environment
from raypipe.environment import endpoints, home


def serve(env_file: str, output: str) -> None:
    """Answer requests until stdin ends."""
    authenticate(endpoints(load_environment(env_file), home()))
    import raypipe.adapters.examples_ray
    import raypipe.adapters.ingest_ray
    import raypipe.adapters.registry_mlflow
    import raypipe.adapters.serve_traffic
    import raypipe.adapters.train_ray  # noqa: F401

    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line), output)), flush=True)


def run(request: dict, output: str) -> dict:
    """Return how one run of the command line ended."""
    child = os.fork()
    if child == 0:
        with Path(output).open("a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        os.environ["RAYPIPE_BOUNDARIES"] = request["boundaries"]
        if request["stop_at"]:
            os.environ["RAYPIPE_STOP_AT"] = request["stop_at"]
        try:
            sys.argv = ["raypipe", *request["arguments"]]
            code = report_errors(build(request["arguments"]))
        except SystemExit as end:
            code = int(end.code or 0)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    _, status = os.waitpid(child, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return {"killed": True, "code": None}
    return {"killed": False, "code": os.waitstatus_to_exitcode(status)}


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2])
