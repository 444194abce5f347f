"""What a commit to a Delta table is made of, where a table stands, and what speaks against a commit. Writes nothing."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
from deltalake import Schema
from deltalake.transaction import AddAction, RemoveAction

from raypipe.adapters.lake.files import DataFile, WrittenFile
from raypipe.environment import StoreAddress
from raypipe.errors import ContractError, GenerationMoved, Unavailable

_COLOURS_AND_ARROWS = re.compile(r"\x1b\[[0-9;]*m|↳")


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


def refuse_other_columns(table: str, found: Schema, wanted: pa.Schema) -> None:
    """Return if rows of these columns can be appended to a table.

    Raises
    ------
    ContractError
        When it has other columns; naming them, and what to do.
    """
    ours = Schema.from_arrow(wanted)
    if found == ours:
        return
    was = {f.name: str(f.type) for f in found.fields}
    now = {f.name: str(f.type) for f in ours.fields}
    changed = sorted(name for name in was.keys() | now.keys() if was.get(name) != now.get(name))
    raise ContractError(
        f"the table {table} was written under another contract: {', '.join(changed)} "
        f"{'differs' if len(changed) == 1 else 'differ'}: take the change back, or give the source a new name, "
        "which makes a new table and reads the feeds from the start",
        key=table,
    )


def generation_moved(table: str, app_id: str, expected: int, found: int) -> GenerationMoved:
    """Return the error of a commit that another came before."""
    return GenerationMoved(
        f"generation moved: expected {expected}, found {found} for {app_id} in {table}: another run "
        "committed first; run again to go on from there",
        stream=app_id,
        expected=expected,
        found=found,
    )


def unavailable(table: str, address: StoreAddress, cause: Exception) -> Unavailable:
    """Return the error of a table whose store does not answer; deltalake writes causes in colour and on many lines."""
    where = f"the object store at {address.endpoint}" if address.endpoint else f"the lake {address.lake}"
    said = " ".join(_COLOURS_AND_ARROWS.sub("", str(cause)).split())[:300]
    return Unavailable(
        f"{where} does not answer for the table {table} ({said}): is it running? Nothing was lost; run again",
        system="s3",
        address=address.endpoint or address.lake,
    )
