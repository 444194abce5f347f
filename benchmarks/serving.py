"""Requests a second of one gateway replica, steady and in a rollout, beside a bare ASGI application. Needs `wrk`.

    make bench NAME=serving            # or: python -m benchmarks.serving --rounds 3 --seconds 5

Every variant answers the same one-row request with the same model. The gateway runs on a platform of its own, with its
prediction log; `ceiling` is a Serve replica behind HAProxy that reads the body and does nothing.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import requests
from rich.table import Table

from benchmarks.bench import measure, require, show, write
from raypipe.adapters.lake.bundles import LakeBundles
from raypipe.adapters.lake.store import Store
from raypipe.bundle import Bundle, Lineage, pack
from raypipe.columns import Column
from raypipe.config import load_environment
from raypipe.environment import Endpoints, endpoints
from raypipe.features.transforms import fit
from raypipe.profile import Profile
from raypipe.protocol import oip
from raypipe.rollout.spec import ReleaseSpec
from raypipe.rollout.state import Challenger, Served, Target
from raypipe.training.model import build
from raypipe.training.spec import TabularMlp
from raypipe.wiring import releasing

MODEL = "bench"
CONNECTIONS = (1, 16, 64)
_COLUMNS = (
    Column("at", "timestamp"),
    *(Column(f"place_{i}", "string") for i in range(3)),
    *(Column(f"number_{i}", "float64") for i in range(14)),
)
_RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
_LUA = 'wrk.method = "POST"\nwrk.headers["content-type"] = "application/json"\nwrk.body = [==[{body}]==]\n'


@dataclass(frozen=True)
class Place:
    """Where the gateway runs, and what it is told."""

    where: Endpoints
    old: Served
    new: Served
    script: Path
    seconds: int
    bare_port: int

    def rate(self, url: str, connections: int) -> float:
        """Return requests a second; any answer but 200 is an error."""
        command = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{self.seconds}s",
            "--timeout",
            "20s",
            "-s",
            str(self.script),
            url,
        ]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        if "Non-2xx" in out or "Socket errors" in out:
            raise SystemExit(f"{url} answered with errors:\n{out}")
        return float(_RATE.search(out)[1])  # type: ignore[index]

    @property
    def gateway(self) -> str:
        """The gateway's URL."""
        return f"{self.where.serve_url}/v2/models/{MODEL}/infer"


def bundle(seed: int) -> Bundle:
    """Return a model of the size of the flights example, untrained."""
    random, n = np.random.default_rng(seed), 2_000
    times = pa.array([datetime(2026, 1, 1 + i % 28, i % 24, tzinfo=UTC) for i in range(n)])
    columns = {c.name: random.choice(list("abcdefgh"), n) for c in _COLUMNS if c.type == "string"}
    columns |= {c.name: random.normal(size=n) for c in _COLUMNS if c.type == "float64"}
    table = pa.table({"at": times, **columns}).select([c.name for c in _COLUMNS])
    table = table.cast(pa.schema([(c.name, c.arrow) for c in _COLUMNS]))
    profile = Profile.of(table)
    transforms, spec = fit(profile, _COLUMNS), TabularMlp(width=64)
    weights = build(spec, len(transforms.inputs), seed=seed).state_dict()
    lineage = Lineage((), (), "", "", "", seed, ())
    return Bundle(
        name=MODEL,
        columns=_COLUMNS,
        label="label",
        architecture=spec,
        transforms=transforms,
        profile=profile,
        weights={name: value.numpy() for name, value in weights.items()},
        example=table.slice(0, 3),
        lineage=lineage,
    )


@contextmanager
def platform(root: Path) -> Iterator[Endpoints]:
    """Yield the addresses of a platform of its own, which is gone afterwards."""
    first = _free_block(20)
    env_file, home = root / "env.yaml", root / "home"
    env_file.write_text(
        f"storage: {{kind: embedded, port: {first}, internal_port: {first + 1}, lake: 's3://lake'}}\n"
        f"registry: {{kind: embedded, port: {first + 10}}}\n"
        f"ray: {{kind: embedded, port: {first + 11}, dashboard_port: {first + 12}, client_port: {first + 13},"
        f" cpus: 4}}\n"
        f"serve: {{host: 127.0.0.1, port: {first + 14}}}\n"
    )
    variables = {**os.environ, "RAYPIPE_HOME": str(home), "PYTHONPATH": str(Path.cwd())}
    cli = [sys.executable, "-c", "from raypipe.cli import main; main()"]
    try:
        subprocess.run([*cli, "up", "--env", str(env_file)], env=variables, check=True, stdout=subprocess.DEVNULL)
        os.environ["RAYPIPE_HOME"] = str(home)
        yield endpoints(load_environment(str(env_file)), home)
    finally:
        subprocess.run([*cli, "down"], env=variables, check=True, stdout=subprocess.DEVNULL)


def order(place: Place, generation: int, *, weight: float = 0, shadow: float = 0) -> None:
    """Return when the gateway does what is ordered: steady without shares, else with a challenger."""
    spec = ReleaseSpec.model_validate({"challenger": {"lease": "1h"}})
    challenger = Challenger(place.new, weight, shadow, "salt") if weight or shadow else None
    rollout = "bench-1" if challenger else None
    target = Target(generation, place.old, (place.old,), rollout, challenger, spec)
    traffic = releasing(place.where).traffic
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        traffic.apply(MODEL, target)
        seen = traffic.observe(MODEL, target, smoke=bool(challenger))
        if 0 < seen.expected <= seen.serving and (seen.smoke or not challenger):
            return
        traffic.pause(0.25)
    raise SystemExit(f"the gateway was not ready in 120 s: {seen}")


def change(place: Place, generation: int) -> float:
    """Return the seconds from ordering another weight to the first answer under it."""
    spec = ReleaseSpec.model_validate({"challenger": {"lease": "1h"}})
    target = Target(generation, place.old, (place.old,), "bench-1", Challenger(place.new, 20, 0, "salt"), spec)
    traffic = releasing(place.where).traffic
    example = bundle(1)
    body = oip.infer_body(example.example.slice(0, 1), example.columns)
    with requests.Session() as session:
        began = time.perf_counter()
        traffic.apply(MODEL, target)
        while True:
            answer = session.post(place.gateway, data=body, timeout=10)
            if answer.headers.get("x-raypipe-epoch") == str(generation):
                return time.perf_counter() - began


def once(place: Place, number: int) -> Mapping[str, float]:
    """Return the figures of one round."""
    bare = f"http://127.0.0.1:{place.bare_port}/"
    found: dict[str, float] = {}
    generation = 10 * (number + 1)
    order(place, generation)
    for c in CONNECTIONS:
        found[f"bare_{c}_per_s"] = place.rate(bare, c)
        found[f"steady_{c}_per_s"] = place.rate(place.gateway, c)
    found["ceiling_16_per_s"] = place.rate(f"{place.where.serve_url}/noop", 16)
    for i, (name, shares) in enumerate(
        {"canary10": {"weight": 10}, "canary50": {"weight": 50}, "shadow100": {"shadow": 100}}.items(), start=1
    ):
        order(place, generation + i, **shares)
        found[f"{name}_16_per_s"] = place.rate(place.gateway, 16)
        found[f"{name}_over_steady"] = found[f"{name}_16_per_s"] / found["steady_16_per_s"]
    found["weight_change_s"] = change(place, generation + 4)
    found["steady_over_bare"] = found["steady_16_per_s"] / found["bare_16_per_s"]
    found["steady_over_ceiling"] = found["steady_16_per_s"] / found["ceiling_16_per_s"]
    return found


@contextmanager
def prepared(seconds: int) -> Iterator[Place]:
    """Yield a platform with two bundles, the bare application and the do-nothing replica running."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        old, new = bundle(1), bundle(2)
        script = root / "post.lua"
        body = oip.infer_body(old.example.slice(0, 1), old.columns).decode()
        script.write_text(_LUA.replace("{body}", body))
        for path, data in pack(old).items():
            file = root / "bundle" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        with platform(root) as where, _bare(root / "bundle") as port:
            bundles = LakeBundles(Store(where.store))
            versions = Served("1", bundles.put(old)), Served("2", bundles.put(new))
            _start_noop(where)
            yield Place(where, *versions, script, seconds, port)


@contextmanager
def _bare(directory: Path) -> Iterator[int]:
    port = _free_block(1)
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.serving_peers", str(directory), str(port)])
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait()


def _start_noop(where: Endpoints) -> None:
    noop = {"name": "noop", "route_prefix": "/noop", "import_path": "benchmarks.serving_peers:noop"}
    options = {"host": where.serve_host, "port": where.serve_port}
    headers = {"Authorization": f"Bearer {where.ray_token.read()}"} if where.ray_token else {}
    url = f"{where.dashboard_url}/api/serve/applications/"
    requests.put(
        url, json={"http_options": options, "applications": [noop]}, headers=headers, timeout=60
    ).raise_for_status()


def _free_block(length: int) -> int:
    for first in range(31000 + os.getpid() % 300 * 20, 42000, length):
        try:
            for port in (*range(first, first + length), *range(first + 10_000, first + 10_000 + length)):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise SystemExit("no free ports")


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement")
    options = parser.parse_args()
    require("wrk")
    with prepared(options.seconds) as place:
        once(replace(place, seconds=1), 0)  # warm
        result = measure(
            lambda n: once(place, n + 1),
            rounds=options.rounds,
            packages=["ray", "torch", "pyarrow", "uvicorn", "orjson"],
        )
    write("serving", result)
    figures = result.figures
    table = Table("variant", *(f"{c} connections" for c in CONNECTIONS), title="requests/s, one row each")
    for name in ("bare", "steady", "ceiling", "canary10", "canary50", "shadow100"):
        rates = [figures.get(f"{name}_{c}_per_s") for c in CONNECTIONS]
        table.add_row(name, *(f"{r:,.0f}" if r else "" for r in rates))
    ratios = Table("figure", "median")
    for name in figures:
        if "_over_" in name or name == "weight_change_s":
            ratios.add_row(name, f"{figures[name]:.2f}")
    show("serving", result, [table, ratios])


if __name__ == "__main__":
    main()
