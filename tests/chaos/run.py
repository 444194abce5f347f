"""Kills and confuses ingestion and streams for as long as it is told, and proves that they lost nothing.

    make chaos SECONDS=600 SEED=1     # or: python tests/chaos/run.py --seconds 600 --seed 1

Episodes go on from the seed, one number each, objects and topics by turns. Where one fails, its seed, its story and what is wrong are printed;
`make chaos SEED=THAT SECONDS=1` does the same to the same objects again.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from nemesis import Nemesis
from place import Place
from rich.console import Console
from rich.table import Table
from stream_nemesis import StreamNemesis

_EPISODES = (
    "sweep", "stream attacks", "attacks", "stream sweep", "ray", "stream attacks",
    "sweep", "stream attacks", "attacks", "stream sweep", "writes", "stream writes",
)  # fmt: skip


def episode(place: Place, seed: int, totals: Counter[str]) -> tuple[str, Nemesis, list[str]]:
    """Return the kind of the seed's episode, who did what, and what is wrong with its lake."""
    kind = _EPISODES[seed % len(_EPISODES)]
    streams = kind.startswith("stream ")
    nemesis = StreamNemesis(place, seed, totals) if streams else Nemesis(place, seed, totals, cluster=kind == "ray")
    match kind.removeprefix("stream "):
        case "sweep":
            nemesis.stop_everywhere(landings=2)
        case "writes":
            # Four such episodes in a row have every write.
            nemesis.kill_at_writes(seed // len(_EPISODES) % 4 + 1, 4)
        case "ray":
            nemesis.attack(8)
        case _:
            nemesis.attack(15)
    return kind, nemesis, nemesis.end()


def main() -> None:
    """Run, print, and exit with 1 at the first episode that lost or doubled something."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3600, help="no episode begins after that")
    parser.add_argument("--seed", type=int, default=0, help="of the first episode")
    options = parser.parse_args()
    # Whoever ends this ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    console, totals, began = Console(highlight=False), Counter[str](), time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        place = Place(Path(directory))
        try:
            seed = options.seed
            while seed == options.seed or time.monotonic() - began < options.seconds:
                kind, nemesis, wrong = episode(place, seed, totals)
                _progress(console, f"{time.monotonic() - began:7.0f} s  seed {seed:>6} {kind:14}", totals, wrong)
                if wrong:
                    _explain(console, seed, nemesis, wrong)
                    sys.exit(1)
                seed += 1
        finally:
            place.close()
    table = Table("", "number")
    for name, number in sorted(totals.items()):
        table.add_row(name, f"{number:,}")
    console.print(table)
    said = f"seeds {options.seed} to {seed - 1}: nothing lost, nothing twice:"
    _progress(console, f"{time.monotonic() - began:7.0f} s  {said}", totals, [])


def _progress(console: Console, when: str, totals: Counter[str], wrong: list[str]) -> None:
    c = totals
    kills = sum(c[f"{what} killed"] for what in ("drivers", "workers", "store", "broker"))
    faults = sum(number for name, number in c.items() if name.startswith("fault: "))
    runs = c["runs"] + c["runs on Ray"] + c["runs on a topic"]
    said = f"{runs} runs, {kills} kills, {faults} faults, {c['rows acknowledged']:,} rows"
    said += f" and {c['messages acknowledged']:,} messages"
    console.print(f"{when} {'WRONG' if wrong else 'right'}  ({said})", soft_wrap=True)


def _explain(console: Console, seed: int, nemesis: Nemesis, wrong: list[str]) -> None:
    lines = ["what was done:", *nemesis.story, "what is wrong:", *wrong]
    lines.append(f"to do the same again: make chaos SEED={seed} SECONDS=1")
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)


if __name__ == "__main__":
    main()
