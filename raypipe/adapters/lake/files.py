"""The data files of a table: as a version of it lists them, and as a worker has just written them.

Knows names, sizes and partition values. Does not know Delta, nor how a file is read.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

STREAMED = "stream-"
"""How the names of files begin that a stream wrote."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """One Parquet file of one version of a table.

    Parameters
    ----------
    uri
        Whole address, as `Store.filesystem` takes it.
    rows, size_bytes
        As the table's log states them.
    partition
        Partition columns with their values as text (`(("event_date", "2013-01-01"),)`), None for null; the file itself
        may lack these columns.
    """

    uri: str
    rows: int
    size_bytes: int
    partition: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True, slots=True)
class TableFiles:
    """All files of one version of a table, under the schema of that version.

    An older file may lack a column that the schema has: it reads as null. A table without files still has its types.
    """

    schema: pa.Schema
    files: tuple[DataFile, ...] = ()


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """One Parquet file that a worker wrote and nobody has committed yet.

    Parameters
    ----------
    path
        Relative to the table's directory.
    rows, size_bytes
        What the file holds.
    partition
        Partition columns with their values as text, in the table's order; empty for an unpartitioned table.
    """

    path: str
    rows: int
    size_bytes: int
    partition: tuple[tuple[str, str | None], ...] = ()
