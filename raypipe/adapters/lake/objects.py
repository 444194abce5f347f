"""One object as a listing shows it, and what is said of one that has changed. Does not know where objects are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from raypipe.errors import ObjectChanged


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object as a listing shows it."""

    uri: str
    etag: str
    size_bytes: int
    modified_at: datetime


def changed(uri: str, etag: str | None) -> ObjectChanged:
    """Return the error of a version that is gone."""
    return ObjectChanged(
        f"{uri} was written over since it was listed: the version {etag} is gone; the next run takes the new one",
        uri=uri,
        etag=etag,
    )
