"""Files that come and go, as Delta's log says it, and where a table stands. Knows the log; does not write it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

from deltalake.transaction import AddAction, RemoveAction

from raypipe.adapters.lake.files import DataFile, WrittenFile


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a table stands at one version.

    Parameters
    ----------
    version
        The newest; -1 where there is no table yet.
    turn
        As `LakeTable.turn` returns it.
    numbers
        What `LakeTable.generation` returns, by application id.
    """

    version: int
    turn: int
    numbers: Mapping[str, int]


def add_action(file: WrittenFile, data_change: bool) -> AddAction:
    """Return the entry of a file that comes."""
    return AddAction(
        path=file.path,
        size=file.size_bytes,
        partition_values=dict(file.partition),
        modification_time=int(time.time() * 1000),
        data_change=data_change,
        stats=json.dumps({"numRecords": file.rows}),
    )


def remove_action(file: DataFile, root: str, data_change: bool) -> RemoveAction:
    """Return the entry of a file that leaves the table at `root`."""
    return RemoveAction(
        path=file.uri.removeprefix(f"{root}/"),
        data_change=data_change,
        deletion_timestamp=int(time.time() * 1000),
        size=file.size_bytes,
        partition_values=dict(file.partition),
    )
