"""Ingests and streams in forked children, each of which can be killed; `place.py` is its other side.

Reads one JSON object a line, answers two: {"pid": ...} when the run has begun, {"code": ..., "stopped": ...} when it is
over. Forking after the imports saves each run its slowest seconds. Where a request asks for no cluster, the tasks run
in the child itself, one after the other, so that a run takes a fraction of a second and whatever kills it kills them. A stream is the command line itself, with
its arguments and its signals.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import breaks
import ray
import ray.data

# Imported once for all children.
import raypipe.adapters.feed_kafka
import raypipe.adapters.feed_schema
import raypipe.adapters.stream_record
import raypipe.cli.stream
import raypipe.local.health
import raypipe.local.state
import raypipe.pipeline
import raypipe.wiring  # noqa: F401
from raypipe.adapters import ray_map, stream_compact, stream_loop
from raypipe.adapters.ingest_ray import RayIngestor
from raypipe.adapters.lake.store import Store
from raypipe.adapters.stream_tables import StreamTables
from raypipe.cli import build
from raypipe.config import load
from raypipe.environment import SecretRef, StoreAddress
from raypipe.errors import RaypipeError


def serve() -> None:
    """Answer requests until stdin ends."""
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            os._exit(run(request))
        print(json.dumps({"pid": child}), flush=True)
        _, status = os.waitpid(child, os.WUNTRACED)
        if stopped := os.WIFSTOPPED(status):
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status), "stopped": stopped}), flush=True)


def run(request: dict) -> int:
    """Return the exit code of one ingestion: 0 done, 2 refused with a sentence, 1 anything else."""
    output = Path(request["output"])
    with output.with_suffix(".log").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.environ.update(request["variables"])
    for name in request["breaks"]:
        getattr(breaks, name)()
    code, said = 0, {}
    try:
        if "arguments" in request:
            code = stream(request["arguments"], **request["pace"])
        else:
            said = ingest(request)
    except RaypipeError as error:
        code, said = 2, {"error": type(error).__name__, "message": str(error)}
    except Exception as error:  # noqa: BLE001  whoever watches decides what it means
        traceback.print_exc()
        where = str(traceback.extract_tb(error.__traceback__)[-1])
        code, said = 1, {"error": type(error).__name__, "where": where, "message": str(error)[:2000]}
    output.write_text(json.dumps(said))
    return code


def ingest(request: dict) -> dict[str, str]:
    """Return the status of each source."""
    if request["cluster"]:
        ray.init(address=request["cluster"], log_to_driver=False, logging_level="ERROR")
    else:
        run_tasks_here()
    store = Store(address(request["store"]))
    ingested = RayIngestor(store, lambda: datetime.now(UTC)).ingest(load(request["pipeline"]))
    return {name: str(i.verdict.status) for name, i in ingested.items()}


def stream(arguments: list[str], batch: int, merged: int, waits: bool) -> int:
    """Return the exit code of `raypipe stream`, whose hours are seconds here: batches are small, files merged often."""
    if waits:
        compact = StreamTables.compact
        StreamTables.compact = lambda self: compact(self, wait=True)
    paced(stream_loop, TARGET_S=0.2, MOST_ROWS=batch, _COMPACT_COMMITS=merged)
    paced(stream_compact, FEWEST=merged)
    return build(arguments)(arguments, standalone_mode=False) or 0


def paced(module: ModuleType, **numbers: float) -> None:
    """Let a module have these numbers instead of its own."""
    assert numbers.keys() <= vars(module).keys(), f"{module.__name__} has other numbers than {sorted(numbers)}"
    vars(module).update(numbers)


def address(plain: dict) -> StoreAddress:
    """Return where the store is."""
    keys = {name: SecretRef(file=plain.pop(name)) for name in ("access_key", "secret_key")}
    return StoreAddress(**plain, **keys)


def run_tasks_here() -> None:
    """Let what is mapped over the cluster run in this process, wherever it is called."""

    def here(function, tasks, *, cpus=1):
        return (function(pickle.loads(pickle.dumps(task))) for task in tasks)

    mapped = ray_map.map_tasks
    for module in list(sys.modules.values()):
        if getattr(module, "map_tasks", None) is mapped:
            module.map_tasks = here


if __name__ == "__main__":
    serve()
