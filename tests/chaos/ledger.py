"""What was acknowledged to the producer, kept outside of the system: every row, with what should become of it.

One line of JSON for each version of an object, written when the store has answered the put. Knows nothing of raypipe;
whatever else acknowledges rows under an address and a version keeps the same lines.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

GOOD, BROKEN, DUPLICATE = "good", "broken", "duplicate"


@dataclass(frozen=True, slots=True)
class Row:
    """One row that the producer wrote.

    Parameters
    ----------
    uuid
        Its identity, the contract's key.
    sequence
        The how manieth row the producer wrote, from 0; no two rows share it, duplicates neither.
    checksum
        Over everything that the row says.
    kind
        `good`, `broken`, or `duplicate` of the row with the same uuid that was written before.
    rule
        The reason for which a broken row must be refused, such as `range(amount)`; empty otherwise.
    """

    uuid: str
    sequence: int
    checksum: str
    kind: str
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an object, acknowledged.

    Parameters
    ----------
    source, address, etag
        Which: an address that is written again has another ETag.
    rows
        In the order in which the object has them; none where it cannot be read.
    readable
        Whether it is in the format that its name says.
    """

    source: str
    address: str
    etag: str
    rows: tuple[Row, ...]
    readable: bool = True


class Ledger:
    """Versions in the order in which they were acknowledged, in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._file.touch()

    def acknowledge(self, version: Version) -> None:
        """Keep one version; call it after the answer and not before."""
        with self._file.open("a") as file:
            file.write(json.dumps(asdict(version)) + "\n")

    def read(self) -> tuple[Version, ...]:
        """Return every version."""
        return tuple(_version(json.loads(line)) for line in self._file.read_text().splitlines())


def checksum(uuid: str, at_us: int, sequence: int, amount: float | None, note: str) -> str:
    """Return the digest of what a row says.

    Parameters
    ----------
    at_us
        Microseconds since the epoch.
    """
    said = json.dumps([uuid, at_us, sequence, amount, note])
    return hashlib.sha256(said.encode()).hexdigest()


def superseded(versions: Iterable[Version]) -> frozenset[tuple[str, str]]:
    """Return address and ETag of the versions that were written over later, so that nobody can read them any more."""
    last: dict[str, str] = {}
    gone: set[tuple[str, str]] = set()
    for version in versions:
        if (before := last.get(version.address)) not in (None, version.etag):
            gone.add((version.address, str(before)))
        last[version.address] = version.etag
    return frozenset(gone)


def _version(plain: dict) -> Version:
    return Version(**{**plain, "rows": tuple(Row(**row) for row in plain["rows"])})
