"""Files of a directory as objects: an ETag from size and time, and writes that show a file whole or not at all."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from raypipe.adapters.lake.objects import StoredObject, changed
from raypipe.errors import Unavailable


def read(path: str, etag: str | None) -> bytes:
    """Return the file's bytes.

    Parameters
    ----------
    etag
        The version that is wanted, None for whichever is there.

    Raises
    ------
    ObjectChanged
        When the file is another version by now.
    """
    with Path(path).open("rb") as file:
        if etag not in (None, _etag(os.fstat(file.fileno()))):
            raise changed(path, etag)
        return file.read()


def write(path: str, data: bytes | pa.Buffer) -> None:
    """Put the file; afterwards it exists whole."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}")
    with partial.open("wb") as file:
        file.write(memoryview(data))
    partial.replace(target)


def remove(paths: Sequence[str]) -> None:
    """Delete the files; one that is gone already is no error."""
    for path in paths:
        Path(path).unlink(missing_ok=True)


def listing(directory: str) -> list[StoredObject]:
    """Return the files below the directory.

    Raises
    ------
    Unavailable
        When there is no such directory.
    """
    root = Path(directory)
    if not root.is_dir():
        raise Unavailable(
            f"the directory {directory} does not exist: create it, or correct the feed's `uri`",
            system="directory",
            address=directory,
        )
    found = []
    for path in root.rglob("*"):
        if path.is_file():
            stat = path.stat()
            modified = datetime.fromtimestamp(stat.st_mtime, UTC)
            found.append(StoredObject(str(path), _etag(stat), stat.st_size, modified))
    return found


def _etag(stat: os.stat_result) -> str:
    return hashlib.sha256(f"{stat.st_size}:{stat.st_mtime_ns}".encode()).hexdigest()[:32]
