"""What upkeep takes away or writes anew, decided from listings alone.

Knows files, their dates and sizes, and which are needed by whom. Reads and writes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby

from raypipe.adapters.lake.files import DataFile
from raypipe.adapters.lake.objects import StoredObject
from raypipe.adapters.stream_compact import FEWEST, LARGE_BYTES

LONGEST_RUN = timedelta(days=7)
"""Between the writing of a file and its commit at most; a file whose commit may still come is never touched."""


@dataclass(frozen=True, slots=True)
class Expiring:
    """A file with rows that are older than their contract keeps them.

    Parameters
    ----------
    file
        As the table lists it.
    rows
        How many of its rows leave; all of them where the file leaves as a whole.
    """

    file: DataFile
    rows: int

    @property
    def whole(self) -> bool:
        """Whether no row is left."""
        return self.rows == self.file.rows

    @property
    def size_bytes(self) -> int:
        """What leaves, in proportion to the rows."""
        return self.file.size_bytes * self.rows // max(self.file.rows, 1)


def expired(files: Iterable[DataFile], keeps_from: date) -> list[Expiring]:
    """Return the files of event dates before the first that is kept; a file without a date stays."""
    dated = ((f, dict(f.partition).get("event_date")) for f in files)
    return [Expiring(f, f.rows) for f, day in dated if day and date.fromisoformat(day) < keeps_from]


def merges(files: Iterable[DataFile]) -> list[list[DataFile]]:
    """Return the groups of small files that each become one: of one partition, all streamed or none, few enough bytes.

    Batch wins over what was streamed, so the two are never mixed. A file that is large enough is not written again.
    """

    def kind(file: DataFile) -> tuple[tuple[tuple[str, str], ...], bool]:
        return tuple((name, value or "") for name, value in file.partition), file.streamed

    small = sorted((f for f in files if f.size_bytes < LARGE_BYTES), key=lambda f: (kind(f), f.size_bytes, f.uri))
    groups = []
    for _, found in groupby(small, kind):
        bins: list[list[DataFile]] = [[]]
        size = 0
        for file in found:
            if size >= LARGE_BYTES:
                bins.append([])
                size = 0
            bins[-1].append(file)
            size += file.size_bytes
        groups += [b for b in bins if len(b) >= FEWEST]
    return groups


def leftovers(
    objects: Iterable[StoredObject], root: str, needed: Collection[str], until: datetime
) -> list[StoredObject]:
    """Return the data files below a table that nobody needs: of old versions, and of runs that were killed.

    Parameters
    ----------
    objects
        All below `root`, private ones too; the log and what is no Parquet file stay.
    needed
        URIs of files of versions that are kept, and of files whose commit may still come.
    until
        Files written since are not touched.
    """
    old = [o for o in objects if o.modified_at < until and o.uri not in needed]
    return [o for o in old if _is_data(o.uri.removeprefix(f"{root}/"))]


def _is_data(path: str) -> bool:
    *directories, name = path.split("/")
    # A file that was being written when its writer died is called `.NAME.parquet.RANDOM`.
    parquet = name.endswith(".parquet") or (name.startswith(".") and ".parquet." in name)
    return parquet and not name.startswith("_") and not any(d.startswith(("_", ".")) for d in directories)
