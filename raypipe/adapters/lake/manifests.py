"""The table `manifests`: which objects each generation of a source is made of, decided before one is read.

A manifest is committed first; what is executed afterwards, also after a crash, is the manifest and never a new
listing. An object is new as long as no manifest of its source names this key with this ETag.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.adapters.lake.objects import StoredObject
from raypipe.adapters.lake.store import Store
from raypipe.adapters.lake.tables import LakeTable
from raypipe.contracts.backfill import Days
from raypipe.contracts.formats import Format

_COLUMNS: dict[str, pa.DataType] = {
    "source": pa.string(),
    "generation": pa.int64(),
    "position": pa.int64(),
    "uri": pa.string(),
    "format": pa.string(),
    "etag": pa.string(),
    "size_bytes": pa.int64(),
    "modified_at": pa.timestamp("us", "UTC"),
    "known_at": pa.timestamp("us", "UTC"),
    "replaces_from": pa.date32(),
    "replaces_until": pa.date32(),
}
SCHEMA = pa.schema(_COLUMNS)


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """One object of a manifest, in its place.

    Parameters
    ----------
    source, generation
        Which manifest: the ingestion stream and its number, from 1.
    position
        Place in the manifest; of equal events the one that stands first wins.
    uri, format, etag, size_bytes, modified_at
        The object as it was listed.
    known_at
        When the manifest was made, aware UTC: what rows without a known-at of their own get.
    replaces_from, replaces_until
        The days whose rows the manifest replaces, the second not included; None where it replaces none.
    """

    source: str
    generation: int
    position: int
    uri: str
    format: Format
    etag: str
    size_bytes: int
    modified_at: datetime
    known_at: datetime
    replaces_from: date | None = None
    replaces_until: date | None = None

    @property
    def replaces(self) -> Days | None:
        """The days whose rows it replaces."""
        return Days(self.replaces_from, self.replaces_until) if self.replaces_from and self.replaces_until else None


class Manifests:
    """The manifests of all sources."""

    def __init__(self, store: Store) -> None:
        self._table = LakeTable(store, "manifests", SCHEMA)

    def read(self, source: str) -> tuple[ManifestEntry, ...]:
        """Return every entry of a source in the order of generation and position."""
        rows = self._table.read(where=pc.field("source") == source)
        rows = rows.sort_by([("generation", "ascending"), ("position", "ascending")])
        return tuple(ManifestEntry(**row) for row in rows.to_pylist())

    def commit(
        self,
        source: str,
        generation: int,
        objects: Sequence[tuple[StoredObject, Format]],
        known_at: datetime,
        replaces: Days | None = None,
    ) -> tuple[ManifestEntry, ...]:
        """Commit and return the manifest `generation` of a source.

        Raises
        ------
        GenerationMoved
            When another run committed this generation first.
        """
        window = (replaces.start, replaces.until) if replaces else (None, None)
        entries = tuple(
            ManifestEntry(source, generation, i, o.uri, format_, o.etag, o.size_bytes, o.modified_at, known_at, *window)
            for i, (o, format_) in enumerate(objects)
        )
        rows = pa.Table.from_pylist([asdict(e) for e in entries], schema=SCHEMA)
        self._table.append(rows, app_id=source, generation=generation)
        return entries
