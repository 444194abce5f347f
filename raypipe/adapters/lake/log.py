"""The log of a Delta table as a listing shows it: which versions can still be read, and which was in force when.

Knows how the log's objects are called. Reads none of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from raypipe.adapters.lake.objects import StoredObject

KEPT = {"delta.enableExpiredLogCleanup": "false"}
"""Property of every table: its log stays.

Delta's default is that a checkpoint deletes entries older than 30 days, and with them the versions that models were
trained on, and what commits carry beside rows.
"""

_ENTRY = re.compile(r"/_delta_log/(\d{20})\.json$")
_CHECKPOINT = re.compile(r"/_delta_log/(\d{20})\.checkpoint(?:\..+)?\.parquet$")


@dataclass(frozen=True, slots=True)
class TableLog:
    """What is there of a table's log.

    Parameters
    ----------
    committed_at
        When each version was committed, as the store's clock says.
    checkpoints
        Versions that are written down as a whole.
    """

    committed_at: Mapping[int, datetime]
    checkpoints: frozenset[int]

    @classmethod
    def of(cls, listing: Iterable[StoredObject]) -> TableLog:
        """Return the log among the objects below a table."""
        entries: dict[int, datetime] = {}
        checkpoints = set()
        for o in listing:
            if found := _ENTRY.search(o.uri):
                entries[int(found[1])] = o.modified_at
            elif found := _CHECKPOINT.search(o.uri):
                checkpoints.add(int(found[1]))
        return cls(entries, frozenset(checkpoints))

    def has(self, version: int) -> bool:
        """Return whether the version can be read: every entry since a checkpoint, or since the first, is there."""
        base = max((c for c in self.checkpoints if c <= version), default=-1)
        return all(v in self.committed_at for v in range(base + 1, version + 1)) and version >= 0

    def in_force(self, moment: datetime) -> int | None:
        """Return the version that a reader saw at a moment, or the oldest after it that can be read; None before any.

        Where clocks disagree about the order of versions, it is one that is too old: then more is kept.
        """
        later = [v for v, at in self.committed_at.items() if at > moment]
        first = min(later) - 1 if later else max(self.committed_at, default=-1)
        last = max(self.committed_at, default=-1)
        if first < 0:
            return None
        return next((v for v in range(first, last + 1) if self.has(v)), None)
