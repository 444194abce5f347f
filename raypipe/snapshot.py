"""An immutable version of a table: what a model was trained on, by name and digest.

Knows how to name data. Does not know how to read it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One version of one table of the lake.

    Parameters
    ----------
    table
        Name in the lake, such as `events/flights`.
    version
        Delta version that holds exactly these rows.
    digest
        sha256 over the sorted (path, size) of the files of that version, 64 hex characters.
    rows
        Number of rows.
    """

    table: str
    version: int
    digest: str
    rows: int
