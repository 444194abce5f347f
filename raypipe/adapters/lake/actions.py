"""What a Delta log says of a file that enters or leaves a table."""

from __future__ import annotations

import json
import time

from deltalake.transaction import AddAction, RemoveAction

from raypipe.adapters.lake.files import DataFile, WrittenFile


def add_action(file: WrittenFile) -> AddAction:
    """Return the entry that makes a file visible."""
    return AddAction(
        path=file.path,
        size=file.size_bytes,
        partition_values=dict(file.partition),
        modification_time=int(time.time() * 1000),
        data_change=True,
        stats=json.dumps({"numRecords": file.rows}),
    )


def remove_action(file: DataFile, root: str) -> RemoveAction:
    """Return the entry that takes a file out of the table at `root`."""
    return RemoveAction(
        path=file.uri.removeprefix(f"{root}/"),
        data_change=True,
        deletion_timestamp=int(time.time() * 1000),
        size=file.size_bytes,
        partition_values=dict(file.partition),
    )
