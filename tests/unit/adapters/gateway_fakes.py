"""A scorer, a loader and an ASGI client for the gateway's tests: no Ray, no sockets."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import orjson
import pyarrow as pa

from raypipe.adapters.gateway_app import Fault, GatewayApp
from raypipe.adapters.gateway_loading import Switch
from raypipe.adapters.gateway_log import Unrecorded
from raypipe.adapters.gateway_state import Loaded
from raypipe.columns import Column
from raypipe.errors import BundleRefused

COLUMNS = (Column("x", "float64"), Column("carrier", "string"))
EXAMPLE = pa.table({"x": [1.0], "carrier": ["UA"]})


@dataclass
class Scorer:
    """Adds `bias` to the column x; fails on the carrier `bug`."""

    bias: float
    columns: tuple[Column, ...] = COLUMNS

    def score(self, table):
        if "bug" in table["carrier"].to_pylist():
            raise ZeroDivisionError("secret detail")
        return np.asarray(table["x"].to_numpy(), dtype=np.float64) + self.bias


class Squeezing(Scorer):
    """Gives one row a score of shape ()."""

    def score(self, table):
        return super().score(table).squeeze()


@dataclass
class Loader:
    """Loads `b1` as a scorer that adds 1; refuses what begins with `bad`, breaks on `broken`, raises what is `away`."""

    loaded: list[str] = field(default_factory=list)
    away: dict[str, Exception] = field(default_factory=dict)

    def __call__(self, address, wanted):
        self.loaded.append(wanted.digest)
        if wanted.digest in self.away:
            raise self.away[wanted.digest]
        if wanted.digest.startswith("bad"):
            raise BundleRefused(f"{wanted.bundle} is not {wanted.digest}")
        if wanted.digest == "broken":
            raise KeyError("weights")
        if wanted.digest == "squeezing":
            return Loaded(Squeezing(0.0), pa.concat_tables([EXAMPLE] * 3))
        if wanted.digest == "nan":
            return Loaded(Scorer(float("nan")), EXAMPLE)
        return Loaded(Scorer(float(wanted.digest.removeprefix("b"))), EXAMPLE)


@dataclass
class Waiting:
    """Fulfils `gateway_loading.Later`: nothing waits longer than until the test says so."""

    seconds: list[float] = field(default_factory=list)
    calls: list[object] = field(default_factory=list)

    def __call__(self, seconds, call):
        self.seconds.append(seconds)
        self.calls.append(call)

    def over(self):
        """Let every wait end, and what it waited for be done."""
        calls, self.calls = self.calls, []
        for call in calls:
            call().result(10)


def user_config(generation, champion, *loaded, name="flights", **limits):
    """Return Serve's `user_config` for one model at a generation, with its versions and their digests."""
    versions = [{"version": v, "digest": d, "bundle": f"s3://lake/{d}"} for v, d in loaded]
    model = {"name": name, "generation": generation, "champion": champion, "loaded": versions}
    return {"models": [model], "store": {"lake": "/nowhere"}} | limits


def together(*configs):
    """Return one `user_config` with the models of several."""
    return configs[0] | {"models": [model for config in configs for model in config["models"]]}


def reconfigured(switch, config):
    """Hand `config` to the switch and wait until it has done what it can."""
    for work in switch.reconfigure(config):
        work.result(10)
    return switch


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return orjson.loads(self.body)


@dataclass
class Client:
    """Calls the gateway's ASGI application as a server would."""

    switch: Switch
    faults: list[Fault] = field(default_factory=list)
    root_path: str = ""
    reach: object = None
    recorder: object = field(default_factory=Unrecorded)

    def __post_init__(self):
        executor = ThreadPoolExecutor(1)
        self.app = GatewayApp(
            self.switch,
            executor,
            replica="r1",
            on_fault=self.faults.append,
            reach=self.reach,
            recorder=self.recorder,
        )

    def __call__(self, method, path, body=b"", headers=None, *, chunks=1):
        return asyncio.run(self._call(method, path, body, headers or {}, chunks))

    async def call(self, method, path, body=b"", headers=None):
        """Call on the running loop, for several at once."""
        return await self._call(method, path, body, headers or {}, 1)

    async def _call(self, method, path, body, headers, chunks):
        sent = []
        path, _, query = path.partition("?")
        size = max(1, -(-len(body) // chunks))
        parts = [body[i : i + size] for i in range(0, len(body), size)] or [b""]
        messages = iter(
            {"type": "http.request", "body": part, "more_body": i < len(parts) - 1} for i, part in enumerate(parts)
        )

        async def receive():
            return next(messages, {"type": "http.disconnect"})

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": self.root_path + path,
            "root_path": self.root_path,
            "query_string": query.encode(),
            "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
        }
        await self.app(scope, receive, send)
        start, answer = sent
        return Response(start["status"], {k.decode(): v.decode() for k, v in start["headers"]}, answer["body"])
