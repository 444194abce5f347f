"""What every benchmark shares: rounds, medians, the machine in words, one result file, one printed table.

A result is `benchmarks/results/<name>.json`. Knows nothing of what is measured.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"

Figures = Mapping[str, float]
"""Figures of one round by name, such as `steady_over_bare`; units are in the names, ratios 0..1 have none."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where it was measured, without its name."""

    processor: str
    cores: int
    memory_bytes: int
    system: str

    def __str__(self) -> str:
        return f"{self.cores} cores ({self.processor}), {self.memory_bytes / 2**30:.0f} GiB, {self.system}"


@dataclass(frozen=True, slots=True)
class Result:
    """What one run of a benchmark measured: `figures` are medians over `rounds` rounds, `by_round` the raw values."""

    at: str
    machine: Machine
    versions: dict[str, str]
    rounds: int
    figures: dict[str, float]
    by_round: dict[str, list[float]]


def machine() -> Machine:
    """Return this machine's description; the cores are those that this process may use."""
    return Machine(_processor(), len(os.sched_getaffinity(0)), psutil.virtual_memory().total, platform.system())


def measure(once: Callable[[int], Figures], *, rounds: int, packages: Sequence[str]) -> Result:
    """Return the medians of `once(0)`, `once(1)`, ... which all measure the same figures.

    Parameters
    ----------
    once
        One round, given its number; seeds and orders may depend on it.
    rounds
        How many, at least 1.
    packages
        Names of the distributions whose versions matter.

    Raises
    ------
    ValueError
        When a round measures other figures than the first: a missing figure is not a zero.
    """
    found = [dict(once(n)) for n in range(rounds)]
    for n, figures in enumerate(found):
        if figures.keys() != found[0].keys():
            differing = sorted(figures.keys() ^ found[0].keys())
            raise ValueError(f"round {n} and round 0 differ in what they measure ({', '.join(differing)})")
    by_round = {name: [figures[name] for figures in found] for name in found[0]}
    return Result(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine(),
        versions={"python": platform.python_version(), **{name: version(name) for name in packages}},
        rounds=rounds,
        figures={name: statistics.median(values) for name, values in by_round.items()},
        by_round=by_round,
    )


def require(program: str) -> None:
    """Return when a Debian program is there; it is installed where apt and the right to use it are.

    Raises
    ------
    SystemExit
        Saying what to install.
    """
    if shutil.which(program):
        return
    if shutil.which("apt-get") and os.geteuid() == 0:
        for command in (["update"], ["install", "-y", "--no-install-recommends", program]):
            subprocess.run(["apt-get", *command], stdout=subprocess.DEVNULL, check=False)
    if not shutil.which(program):
        raise SystemExit(f"this benchmark needs {program}: install it with your package manager (Debian: {program})")


def write(name: str, result: Result, directory: Path = RESULTS) -> Path:
    """Write the result and return its file."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{name}.json"
    file.write_text(json.dumps(asdict(result), indent=1) + "\n")
    return file


def show(name: str, result: Result, tables: Sequence[Table] = ()) -> None:
    """Print the tables, or all figures where there are none, under one line about the machine."""
    console = Console()
    console.print(f"{name}: medians of {result.rounds} rounds, {result.machine}", soft_wrap=True)
    for table in tables or (_all(result),):
        console.print(table)


def _all(result: Result) -> Table:
    table = Table("figure", "median", "lowest", "highest")
    for name, value in result.figures.items():
        values = result.by_round[name]
        table.add_row(name, f"{value:,.4g}", f"{min(values):,.4g}", f"{max(values):,.4g}")
    return table


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
