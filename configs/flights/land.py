"""Land the demonstration data as daily drops, the way four outside systems would deliver it.

    python configs/flights/land.py --from 2013-01-01 --to 2013-03-31 [--to-uri s3://landing] [--env local]
                                   [--faults] [--seed 7]

Below the landing prefix appear `schedules/ departures/ arrivals/ weather/`, and `_ledger/<from>_<to>.json` with what
an ingest must find. Landing again changes nothing. Knows where objects go. Does not know what is in them.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

from drops import SUFFIXES, Drop, Ledger, drops, ledger
from rich.console import Console
from rich.table import Table

from raypipe.adapters.lake.objects import StoredObject
from raypipe.adapters.lake.store import Store
from raypipe.config import load_environment
from raypipe.environment import StoreAddress, endpoints, home
from raypipe.errors import RaypipeError

Progress = Callable[[int, int, int], None]
"""Called with the drops that are done, all of them, and those written so far."""

_THREADS = 8  # below the store client's pool of 10 connections


def land(
    store: Store,
    uri: str,
    start: date,
    end: date,
    faults: int | None = None,
    progress: Progress = lambda done, total, written: None,
) -> Ledger:
    """Return the ledger of what now lies below `uri`: everything that became known from `start` to `end`.

    An object that is there with the same bytes is left alone, so its ETag and time stay. Choose with or without
    faults once for a prefix: objects of another choice are not removed.

    Parameters
    ----------
    store, uri
        Where to: an `s3://` prefix or a directory, made if need be.
    start, end
        First and last UTC day, both included.
    faults
        Seed of the injected faults; None injects none.

    Raises
    ------
    ConfigError
        When the range leaves the data, or the data is not installed.
    Unavailable, AccessDenied
        From the store.
    """
    root = uri.rstrip("/")
    all_drops = list(drops(start, end, faults))
    there: dict[str, StoredObject] = {}
    for source in SUFFIXES:
        store.ensure_bucket(f"{root}/{source}")
        there |= {o.uri: o for o in store.listing(f"{root}/{source}/")}
    done = written = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        for wrote in pool.map(lambda d: _put(store, f"{root}/{d.name}", d, there), all_drops):
            done, written = done + 1, written + wrote
            progress(done, len(all_drops), written)
    result = ledger(all_drops, start, end, faults)
    store.write(f"{root}/_ledger/{start}_{end}.json", result.to_json().encode())
    return result


def _put(store: Store, uri: str, drop: Drop, there: dict[str, StoredObject]) -> bool:
    found = there.get(uri)
    if found is not None and found.size_bytes == len(drop.data):
        # The ETag of a whole PUT is its MD5; a directory's is not, so there the bytes are compared.
        same = found.etag == hashlib.md5(drop.data, usedforsecurity=False).hexdigest()
        if same or (not uri.startswith("s3://") and store.read(uri) == drop.data):
            return False
    store.write(uri, drop.data)
    return True


def wide_console() -> Console:
    """Return a console that cuts no cell short where there is no terminal to be wide enough."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 140)


def table(result: Ledger) -> Table:
    """Return the ledger as a table to print."""
    seed = "no injected faults" if result.seed is None else f"injected faults of seed {result.seed}"
    shown = Table("source", "objects", "rows", "accepted", "duplicates", "dead letters", title=seed)
    for name, s in result.sources.items():
        reasons = "\n".join(f"{count} {reason}" for reason, count in s.dead_letters.items()) or "0"
        shown.add_row(name, f"{s.objects:,}", f"{s.rows:,}", f"{s.accepted:,}", f"{s.duplicates:,}", reasons)
    return shown


def main(arguments: Sequence[str] | None = None) -> int:
    """Land what the arguments ask for and return the exit code."""
    options = _options(arguments)
    console = wide_console()
    try:
        store = _store(options.to_uri, options.env)
        uri = options.to_uri if options.to_uri.startswith("s3://") else str(Path(options.to_uri).resolve())
        seed = options.seed if options.faults else None
        with console.status("reading the flights of 2013") as status:

            def show(done: int, total: int, written: int) -> None:
                status.update(f"landed {done:,} of {total:,} drops, {written:,} of them new")
                if done == total:
                    console.print(f"landed {total:,} drops at {uri}, {written:,} of them new", soft_wrap=True)

            result = land(store, uri, options.start, options.end, seed, show)
    except RaypipeError as error:
        Console(stderr=True).print(str(error), style="red", markup=False, soft_wrap=True)
        return error.exit_code
    console.print(table(result))
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Land the flights of New York as daily drops.")
    day = date.fromisoformat
    parser.add_argument("--from", dest="start", type=day, required=True, help="first UTC day, such as 2013-01-01")
    parser.add_argument("--to", dest="end", type=day, required=True, help="last UTC day")
    parser.add_argument("--to-uri", default="s3://landing", help="an s3:// prefix, or a directory (%(default)s)")
    parser.add_argument("--env", default="local", help="environment that names the store (%(default)s)")
    parser.add_argument("--faults", action="store_true", help="inject labelled faults")
    parser.add_argument("--seed", type=int, default=7, help="seed of the faults (%(default)s)")
    return parser.parse_args(arguments)


def _store(uri: str, env: str) -> Store:
    if uri.startswith("s3://"):
        return Store(endpoints(load_environment(env), home()).store)
    return Store(StoreAddress(lake=uri))


if __name__ == "__main__":
    sys.exit(main())
