"""The whole loop on real flights, act by act: run it with `make demo`.

    python configs/flights/demo.py [--fast]

January to June land with counted faults and give a first champion; July and August give a candidate, which must prove
itself on the requests of September; a copy that is broken on purpose must be stopped; the monitor looks at September.
Nothing is arranged: what the gate, the rollout and the monitor say is printed as it is.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from broken import register_broken
from drive import Drive, Tally
from land import wide_console
from recorded import columns_of, recorded
from rich.progress import Progress

from raypipe.adapters.lake.bundles import LakeBundles
from raypipe.adapters.lake.decisions import Decisions
from raypipe.adapters.lake.store import Store
from raypipe.adapters.registry_mlflow import MlflowRegistry
from raypipe.cli.run import curl
from raypipe.config import Pipeline, load, load_environment
from raypipe.environment import Endpoints, endpoints, home
from raypipe.ports import ModelVersion

HERE = Path(__file__).parent
FILE = Path(os.path.relpath(HERE / "pipeline.yaml"))
AIRPORT = "JFK"
CONSOLE = wide_console()


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of the year is used: (first day, last day) of each act, and how many requests are driven at most."""

    first: tuple[date, date]
    more: tuple[date, date]
    asked: tuple[date, date]
    requests: int
    overrides: tuple[str, ...] = ()


WHOLE = Scale(
    (date(2013, 1, 1), date(2013, 6, 30)),
    (date(2013, 7, 1), date(2013, 8, 31)),
    (date(2013, 9, 1), date(2013, 9, 30)),
    27_600,
)
FAST = Scale(
    (date(2013, 1, 1), date(2013, 1, 31)),
    (date(2013, 2, 1), date(2013, 2, 20)),
    (date(2013, 2, 21), date(2013, 2, 28)),
    6_500,
    (
        "search.trials=2",
        "training.model.epochs=3",
        "monitor.min_rows=200",
        "release.steps=[{shadow: {min_pairs: 1100}}, {weight: {percent: 50, min_requests: 300}}, {adopt: {}}]",
    ),
)


@dataclass
class Demo:
    """The demonstration's state: where it runs, and what has been decided so far."""

    scale: Scale
    pipeline: Pipeline
    where: Endpoints
    drive: Drive

    @property
    def decisions(self) -> Decisions:
        """Every decision of the lake."""
        return Decisions(Store(self.where.store))

    @property
    def registry(self) -> MlflowRegistry:
        """Versions and the champion."""
        return MlflowRegistry(self.where.mlflow_uri)

    def champion(self) -> ModelVersion:
        """Return the version that answers."""
        found = self.registry.champion(self.pipeline.spec.name)
        assert found is not None, "the first run releases a champion"
        return found

    def sets(self) -> list[str]:
        """Return the overrides of this scale as arguments."""
        return [part for override in self.scale.overrides for part in ("--set", override)]

    def release(self, *arguments: str) -> Tally | None:
        """Return what users saw while a command released a version; None when it released none.

        Requests are driven from the moment that the challenger runs until the command has ended.
        """
        CONSOLE.print(f"[bold]$ raypipe {' '.join(arguments)}[/]", soft_wrap=True)
        stream = f"release/{self.pipeline.spec.name}"
        before = len(self.decisions.stream(stream))
        process = subprocess.Popen([sys.executable, "-m", "raypipe", *arguments])
        driven = used_up = False
        while process.poll() is None:
            if not driven and len(self.decisions.stream(stream)) > before + 1:
                act(f"the challenger runs: recorded requests are driven, {self.drive.left:,} are left")
                self.drive.start()
                driven = True
            elif driven and not used_up and not self.drive.under_way:
                used_up = True
                raypipe("release", "abort", self.pipeline.spec.name, "--reason", "the recorded requests are used up")
            time.sleep(0.5)
        return self.drive.stop() if driven else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Play every act and return the exit code: 0 when each did what it is there to show."""
    parser = argparse.ArgumentParser(description="The whole loop on real flights.")
    parser.add_argument("--fast", action="store_true", help="a month, few trials, few requests")
    parser.add_argument("--env", default="local", help="environment (%(default)s)")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    scale = FAST if options.fast else WHOLE
    raypipe("up", "--env", options.env)
    pipeline = load(FILE, scale.overrides)
    where = endpoints(load_environment(options.env), home())
    act("computing the recorded requests by the offline join: two hours before each departure, what was known")
    requests = recorded(pipeline, *scale.asked).slice(0, scale.requests)
    url = f"{where.serve_url}/endpoints/{pipeline.spec.name}/invocations"
    demo = Demo(scale, pipeline, where, Drive(url, requests, columns_of(requests, pipeline)))
    began_at = datetime.now(UTC)

    act(f"1. {span(scale.first)} land with counted faults; the first champion is searched, trained, judged, released")
    land(scale.first, options.env)
    if raypipe("run", str(FILE), *demo.sets()) != 0:
        return 1
    act(f"2. {span(scale.more)} land; a candidate trained on more data must prove itself on real requests")
    land(scale.more, options.env)
    honest = demo.release("run", str(FILE), *demo.sets())
    tell(honest, "the gate refused the candidate, so no rollout began")
    act(f"3. a copy of the champion that is broken on purpose (it errors on {AIRPORT}) is released and must be stopped")
    store = Store(where.store)
    champion = demo.champion()
    broken = register_broken(pipeline, champion, AIRPORT, LakeBundles(store), demo.registry)
    stopped = demo.release("release", "start", str(FILE), "--version", broken.version, *demo.sets())
    tell(stopped, "no rollout began")
    act(f"4. the remaining requests are answered; {span(scale.asked)} lands, which brings labels; the monitor looks")
    demo.drive.start()
    tell(follow(demo.drive), "")
    land(scale.asked, options.env)
    raypipe("ingest", str(FILE), *demo.sets())
    await_logged(store, pipeline.spec.name, requests.num_rows - demo.drive.left)
    since = f"{began_at:%Y-%m-%dT%H:%M:%S}"
    raypipe("monitor", str(FILE), "--once", "--since", since, *demo.sets())
    show(demo, champion, broken)
    act(f"done in {(time.monotonic() - began) / 60:.1f} minutes")
    still = demo.champion().version
    if still != champion.version:
        CONSOLE.print(f"[red]the broken copy was not stopped: version {still} answers[/]")
    return 0 if still == champion.version else 1


def raypipe(*arguments: str) -> int:
    """Run a command of raypipe, as a user would, and return its exit code."""
    CONSOLE.print(f"[bold]$ raypipe {' '.join(arguments)}[/]", soft_wrap=True)
    return subprocess.run([sys.executable, "-m", "raypipe", *arguments], check=False).returncode


def land(days: tuple[date, date], env: str) -> None:
    """Land these days with injected, counted faults."""
    command = [sys.executable, str(HERE / "land.py"), "--from", str(days[0]), "--to", str(days[1]), "--faults"]
    subprocess.run([*command, "--env", env], check=True)


def await_logged(store: Store, model: str, requests: int, patience_s: float = 60) -> None:
    """Return when the prediction log has every request that was answered, or after some patience, and say which."""
    from raypipe.adapters.lake.catalog import predictions_table  # noqa: PLC0415

    deadline = time.monotonic() + patience_s
    while (found := predictions_table(store).read(["request_id"]).num_rows) < requests:
        if time.monotonic() > deadline:
            break
        time.sleep(1)
    act(f"{found:,} predictions are in the log; {requests:,} requests were sent to {model}")


def act(text: str) -> None:
    """Print what happens now."""
    CONSOLE.print(f"\n[bold cyan]{text}[/]", soft_wrap=True)


def follow(drive: Drive) -> Tally:
    """Return what users saw after every request was sent; shows how far it is meanwhile."""
    told, total = 0, drive.left
    with Progress(console=CONSOLE, disable=not CONSOLE.is_terminal, transient=True) as bar:
        task = bar.add_task("requests", total=total)
        while drive.under_way:
            sent = total - drive.left
            bar.update(task, completed=sent)
            if not CONSOLE.is_terminal and sent >= told:
                CONSOLE.print(f"{sent:,} of {total:,} requests are sent")
                told += max(1, total // 5)
            time.sleep(0.5)
    return drive.wait()


def tell(tally: Tally | None, otherwise: str) -> None:
    """Print what users saw."""
    CONSOLE.print(f"users: {tally.sentence()}" if tally else otherwise, soft_wrap=True)


def span(days: tuple[date, date]) -> str:
    """Return a period in words."""
    return f"{days[0]:%d %B} to {days[1]:%d %B}"


def show(demo: Demo, champion: ModelVersion, broken: ModelVersion) -> None:
    """Print everything that was decided, with its numbers."""
    from demo_table import decisions_table, margins, models_table, sources_table, trials_table  # noqa: PLC0415

    name = demo.pipeline.spec.name
    CONSOLE.print()
    CONSOLE.print(sources_table(demo.decisions, demo.pipeline))
    if first := demo.registry.version(name, "1"):
        CONSOLE.print(trials_table(demo.registry, LakeBundles(Store(demo.where.store)), first[0]))
    CONSOLE.print(models_table(demo.registry, name, champion, broken))
    CONSOLE.print(decisions_table(demo.decisions, name))
    for line in margins(demo.pipeline, demo.registry, champion):
        CONSOLE.print(line, soft_wrap=True, markup=False)
    where = demo.where
    CONSOLE.print(f"\nMLflow {where.mlflow_uri}   dashboard {where.dashboard_url}   endpoint {where.serve_url}")
    CONSOLE.print(curl(where, name), soft_wrap=True, markup=False)
    asked = demo.drive.last_id
    CONSOLE.print("Where an answer, a version or a rollout came from:")
    for command in (f"explain '{asked}'", f"trace {name}/{champion.version}", f"release status {name}"):
        CONSOLE.print(f"  .venv/bin/raypipe {command}", soft_wrap=True, markup=False)


if __name__ == "__main__":
    sys.exit(main())
