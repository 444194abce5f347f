"""What a plain reader sees in the lake: deltalake and polars, none of raypipe's own code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError


@dataclass(frozen=True, slots=True)
class File:
    """A data file: of which table, its path there, its rows (-1 where only the listing knows it) and bytes."""

    table: str
    path: str
    rows: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Seen:
    """The tables of a lake at one moment.

    Parameters
    ----------
    events
        The rows of each source's table.
    letters, manifests, decisions
        The rows of these tables.
    commits
        Of the ingestion, each with `table`, `app_id` and, where the commit states them, `counts`.
    logged, stored
        Files that the tables' logs name, and files that the store holds.
    digests
        Of each table its version and a digest of its rows.
    """

    events: Mapping[str, list[dict[str, Any]]]
    letters: list[dict[str, Any]]
    manifests: list[dict[str, Any]]
    decisions: list[dict[str, Any]]
    commits: list[dict[str, Any]]
    logged: frozenset[File]
    stored: frozenset[File]
    digests: Mapping[str, tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Commit:
    """One version of a table's log.

    Parameters
    ----------
    numbers
        Of each application that the commit names, the new number.
    said
        The product's metadata; `app_id` says who committed.
    """

    numbers: Mapping[str, int]
    said: Mapping[str, Any]


def committed(log: bytes) -> Commit:
    """Return what one file of a log says."""
    actions = [json.loads(line) for line in log.splitlines()]
    numbers = {a["txn"]["appId"]: a["txn"]["version"] for a in actions if "txn" in a}
    said = next((a["commitInfo"].get("raypipe", "{}") for a in actions if "commitInfo" in a), "{}")
    return Commit(numbers, json.loads(said))


def look(lake: str, options: dict[str, str], sources: list[str], listing: list[tuple[str, int]]) -> Seen:
    """Return what the lake holds.

    Parameters
    ----------
    lake
        Its URI.
    options
        deltalake's for this store.
    listing
        Every object below the lake by path and size.
    """
    names = ["manifests", "dead_letters", "decisions", *(f"events/{s}" for s in sources)]
    rows: dict[str, list[dict[str, Any]]] = {}
    commits: list[dict[str, Any]] = []
    logged: set[File] = set()
    digests = {}
    for name in names:
        try:
            table = DeltaTable(f"{lake}/{name}", storage_options=options)
        except TableNotFoundError:
            rows[name] = []
            continue
        rows[name] = pl.DataFrame(table.to_pyarrow_table()).to_dicts()
        digests[name] = (table.version(), _digest(rows[name]))
        logged |= _logged(name, table)
        recorded = [json.loads(entry["raypipe"]) for entry in table.history() if "raypipe" in entry]
        commits += [{"table": name, **r} for r in recorded]
    return Seen(
        events={s: rows[f"events/{s}"] for s in sources},
        letters=rows["dead_letters"],
        manifests=rows["manifests"],
        decisions=rows["decisions"],
        commits=commits,
        logged=frozenset(logged),
        stored=_stored(names, listing),
        digests=digests,
    )


def _logged(name: str, table: DeltaTable) -> set[File]:
    actions = pl.DataFrame(table.get_add_actions(flatten=True)).to_dicts()
    return {File(name, a["path"], a["num_records"], a["size_bytes"]) for a in actions}


def _stored(names: list[str], listing: list[tuple[str, int]]) -> frozenset[File]:
    return frozenset(
        File(name, path.removeprefix(f"{name}/"), -1, size)
        for path, size in listing
        for name in names
        if path.startswith(f"{name}/") and "/_delta_log/" not in path
    )


def _digest(rows: list[dict[str, Any]]) -> str:
    lines = sorted(json.dumps(row, sort_keys=True, default=str) for row in rows)
    return sha256("\n".join(lines).encode()).hexdigest()
