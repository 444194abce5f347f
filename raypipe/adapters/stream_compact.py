"""Small files of a stream become few, so that a table that is written every second stays quick to read.

Files of one event date are merged when there are enough of about one size, so that a row is written again only about
as often as its file has grown fourfold. Merging goes on in a thread while the stream commits, since no message should
wait for it. Knows sizes and rows; does not know who commits.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby

import pyarrow as pa

from raypipe.adapters.lake.files import STREAMED, DataFile, WrittenFile
from raypipe.adapters.lake.tables import LakeTable

LARGE_BYTES = 32_000_000
"""A file of this size is left alone."""

FEWEST = 8
"""Fewer files are not worth a commit."""

_MOST_BYTES = 64_000_000  # read, written and held in memory at once, while messages wait
_ALIKE_BYTES = 1_000_000  # below this, sizes do not matter


def plan(files: Sequence[DataFile]) -> list[list[DataFile]]:
    """Return the groups of files that each become one, within what may be read at once; each of one event date.

    Parameters
    ----------
    files
        All files of the table; those that no stream wrote are left alone.
    """
    small = [f for f in files if f.uri.rpartition("/")[2].startswith(STREAMED) and f.size_bytes < LARGE_BYTES]
    groups = []
    left = _MOST_BYTES
    for _, found in groupby(sorted(small, key=lambda f: (f.partition, f.size_bytes, f.uri)), lambda f: f.partition):
        group: list[DataFile] = []
        size = 0
        for file in found:
            if file.size_bytes > max(_ALIKE_BYTES, size) or size + file.size_bytes > min(left, 2 * LARGE_BYTES):
                break
            group.append(file)
            size += file.size_bytes
        if len(group) >= FEWEST:
            groups.append(group)
            left -= size
    return groups


@dataclass(frozen=True, slots=True, eq=False)
class Merge:
    """Small files, and the fewer ones that hold the same rows and no reader sees yet."""

    gone: tuple[DataFile, ...]
    files: tuple[WrittenFile, ...]


class Merger:
    """Merges files of one table in a thread, one plan at a time."""

    def __init__(self, table: LakeTable) -> None:
        self._table = table
        self._pool = ThreadPoolExecutor(1, "compact")
        self._merging: Future[Merge] | None = None

    @property
    def busy(self) -> bool:
        """Whether a merge was begun and not taken."""
        return self._merging is not None

    def begin(self, files: Sequence[DataFile]) -> None:
        """Begin to merge what is worth it of a table's files."""
        if groups := plan(files):
            self._merging = self._pool.submit(self._merge, groups)

    def take(self, *, wait: bool = False) -> Merge | None:
        """Return the merge that was begun, once; None while it goes on, unless told to wait.

        Raises
        ------
        Unavailable
            When the store did not answer; another may be begun.
        """
        if self._merging is None or not (wait or self._merging.done()):
            return None
        merging, self._merging = self._merging, None
        return merging.result()

    def close(self) -> None:
        """Wait for the thread; what it merged and nobody took is a file that no reader sees."""
        self._pool.shutdown()

    def _merge(self, groups: Sequence[Sequence[DataFile]]) -> Merge:
        files = tuple(compacted(self._table, group) for group in groups)
        return Merge(tuple(f for group in groups for f in group), files)


def compacted(table: LakeTable, group: Sequence[DataFile]) -> WrittenFile:
    """Return one new file with the rows of these files, which are of one partition and all streamed or all not."""
    first = group[0]
    rows = pa.concat_tables(table.store.read_parquet(f.uri) for f in group)
    return table.write(rows, first.partition, streamed=first.streamed)
