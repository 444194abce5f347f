"""The real object store, a proxy before it, drivers that go through the proxy; a broker and a Ray cluster on request.

Starts and ends processes of its own and no others. Does not know what is ingested.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import boto3
import psutil
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from broker import Broker
from faults import Plan
from proxy import Proxy

from raypipe.environment import Endpoints, EnvironmentSpec, endpoints
from raypipe.local.parts import embedded_parts
from raypipe.local.ports import free

HERE = Path(__file__).parent
_PATIENCE_S = 60.0
_HANGS_S = 150.0
CLUSTER = """
import sys, ray
ray.init(num_cpus=2, include_dashboard=False, object_store_memory=200_000_000, log_to_driver=False)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True, slots=True)
class End:
    """How a run ended: its exit code, whether it stopped at a boundary, and what it said of each source, or why not."""

    code: int
    stopped: bool
    said: Mapping[str, str]

    @property
    def killed(self) -> bool:
        # A stream that is told to end before it listens is killed too.
        return self.code in (-signal.SIGKILL, -signal.SIGTERM)


class Driver:
    """A warm process that ingests or streams in children, one at a time."""

    def __init__(self, output: Path) -> None:
        self._output = output
        self._process = subprocess.Popen(
            [sys.executable, HERE / "driver.py"],
            env=_variables(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid: int | None = None

    def ready(self) -> None:
        """Return when runs can begin."""
        assert self._line() == "ready\n", "the driver did not start"

    def begin(self, request: Mapping[str, object]) -> None:
        """Return when a run has begun; `pid` is its process."""
        self._output.write_text("{}")
        assert self._process.stdin
        self._process.stdin.write(json.dumps({**request, "output": str(self._output)}) + "\n")
        self._process.stdin.flush()
        self.pid = json.loads(self._line())["pid"]

    def kill(self) -> None:
        """Kill the run, if it is there."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """Ask the run to end, if it is there: a stream commits what it has first."""
        self._signal(signal.SIGTERM)

    def end(self) -> End:
        """Return how the run ended."""
        hung = threading.Event()
        watch = threading.Timer(_HANGS_S, lambda: (hung.set(), self.kill()))
        watch.start()
        answer = json.loads(self._line())
        self.pid = None
        watch.cancel()
        said = json.loads(self._output.read_text() or "{}")
        if hung.is_set():
            return End(1, False, {"error": "Hung", "message": f"the run did not end within {_HANGS_S:.0f} s"})
        return End(answer["code"], answer["stopped"], said)

    def close(self) -> None:
        self.kill()
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def _signal(self, number: int) -> None:
        if (pid := self.pid) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()


class ObjectStore:
    """SeaweedFS as the local platform starts it; it can be killed and comes back with what it has acknowledged."""

    def __init__(self, root: Path) -> None:
        first = _free_block()
        spec = EnvironmentSpec.model_validate(
            {
                "storage": {"kind": "embedded", "port": first, "internal_port": first + 1, "lake": "s3://lake"},
                "registry": {"kind": "mlflow", "uri": "sqlite://"},
                "ray": {"kind": "cluster", "address": "auto", "dashboard": "http://127.0.0.1"},
                "kafka": {"kind": "embedded", "port": first + 9},
            }
        )
        (root / "sockets").mkdir(parents=True)
        self.where: Endpoints = endpoints(spec, root)
        parts = embedded_parts(spec, root, root / "sockets", lambda _, preferred: preferred, ["kafka"])
        self._part, self.broker_part = parts
        self._log, self.port = root / "store.log", first
        self._process: subprocess.Popen[bytes] | None = None
        self._client = None

    def start(self) -> None:
        """Return when it takes objects."""
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                self._part.command, env=self._part.env, stdout=log, stderr=log, start_new_session=True
            )
        for bucket in ("lake", "landing"):
            self.put(bucket, ".there", b"")

    @property
    def client(self):
        if self._client is None:
            store = self.where.store
            assert store.access_key
            assert store.secret_key
            self._client = boto3.client(
                "s3",
                endpoint_url=store.endpoint,
                region_name=store.region,
                aws_access_key_id=store.access_key.read(),
                aws_secret_access_key=store.secret_key.read(),
                config=Config(retries={"mode": "standard", "max_attempts": 1}, s3={"addressing_style": "path"}),
            )
        return self._client

    def put(self, bucket: str, key: str, data: bytes) -> str:
        """Store the object, again until that is acknowledged, and return its ETag."""
        answer = self.insist(lambda: self.client.put_object(Bucket=bucket, Key=key, Body=data))
        return answer["ETag"].strip('"')

    def get(self, bucket: str, key: str) -> bytes:
        """Return the object, once the store lets it."""

        def read() -> bytes:
            return self.client.get_object(Bucket=bucket, Key=key)["Body"].read()

        return self.insist(read)

    def forget(self, topic: str) -> None:
        """Delete all but the newest batch of each partition of a topic, as a broker does with what is too old."""
        below = f"clusters/tansu_cluster/topics/{topic}/partitions/"
        batches: dict[str, list[str]] = {}
        for path, _ in self.listing("kafka", below):
            if path.endswith(".batch"):
                batches.setdefault(path.split("/")[0], []).append(below + path)
        for path in (p for of_partition in batches.values() for p in sorted(of_partition)[:-1]):
            self.client.delete_object(Bucket="kafka", Key=path)

    def listing(self, bucket: str, prefix: str) -> list[tuple[str, int]]:
        """Return path below the prefix, and size, of each object."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [(o["Key"].removeprefix(prefix), o["Size"]) for page in pages for o in page.get("Contents", [])]

    def kill(self) -> None:
        assert self._process
        self._process.kill()
        self._process.wait()

    def insist(self, call):
        """Return what the call returns, once the store lets it."""
        until = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return call()
            except (BotoCoreError, ClientError, OSError):
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)


class Cluster:
    """A Ray cluster of two CPUs, and its workers to kill."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", CLUSTER],
            env=_variables(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout
        self.address = self._process.stdout.readline().strip()
        assert self.address, "the Ray cluster did not start"

    def kill_workers(self) -> int:
        """Kill the processes that run tasks, or wait for one, and return how many there were."""
        found = psutil.Process(self._process.pid).children(recursive=True)
        # The agents of a node are named like workers; a node dies with them, which is another fault.
        workers = [p for p in found if _name(p).startswith("ray::") and not _name(p).endswith("Agent")]
        for worker in workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()
        return len(workers)

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


class Place:
    """All of it; a broker and a cluster from the first run that wants one."""

    calm = Plan()

    def __init__(self, root: Path, drivers: int = 3) -> None:
        self.root = root
        self.drivers: Sequence[Driver] = [Driver(root / f"said{n}.json") for n in range(drivers)]
        self.store = ObjectStore(root)
        self.store.start()
        self.proxy = Proxy(("127.0.0.1", self.store.port))
        self._cluster: Cluster | None = None
        self._broker: Broker | None = None
        for driver in self.drivers:
            driver.ready()

    @property
    def cluster(self) -> Cluster:
        if self._cluster is None:
            self._cluster = Cluster()
        return self._cluster

    @property
    def broker(self) -> Broker:
        if self._broker is None:
            self._broker = Broker(self.store.broker_part, self.store.where, self.root / "broker.log")
            self._broker.start()
        return self._broker

    def close(self) -> None:
        for driver in self.drivers:
            driver.close()
        if self._broker:
            self._broker.kill()
        if self._cluster:
            self._cluster.close()
        self.proxy.close()
        self.store.kill()


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline()[:1])
    return ""


def _variables() -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "AWS_", "RAYPIPE_"))}
    ours = {"RAY_AUTH_MODE": "disabled", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    path = os.pathsep.join([str(HERE.parents[1]), str(HERE), os.environ.get("PYTHONPATH", "")])
    return inherited | ours | {"PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}


def _free_block(length: int = 10) -> int:
    """Return the first of neighbouring free ports whose ports + 10000 are free too.

    Below those that the kernel gives to outgoing connections, so that none of them takes the port of a killed store.
    """
    for first in range(15_000 + os.getpid() % 300 * 10, 20_000, length):
        if all(free(p) and free(p + 10_000) for p in range(first, first + length)):
            return first
    raise AssertionError("no free block of ports from 15000 to 20000")
