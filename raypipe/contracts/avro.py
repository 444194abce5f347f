"""Avro object container files: the rows of every block that can be read, and the others malformed.

What a broken block holds is not believed, as nothing says where in it the damage begins. The blocks after it are
read: each ends with a mark that the header names. Does not know contracts.
"""

from __future__ import annotations

import bz2
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fastavro
import numpy as np
import orjson
import polars as pl
import pyarrow as pa
from fastavro.schema import SchemaParseException, UnknownType

from raypipe.contracts.avro_types import MISFIT, Column, Kind, RowSchema, row_schema
from raypipe.contracts.rows import ROW, RawPart, RawRows, malformed_table

_MAGIC = b"Obj\x01"
_MARK_BYTES = 16
_HEADER = fastavro.parse_schema(
    {
        "type": "record",
        "name": "header",
        "fields": [
            {"name": "magic", "type": {"type": "fixed", "name": "magic", "size": len(_MAGIC)}},
            {"name": "meta", "type": {"type": "map", "values": "bytes"}},
            {"name": "mark", "type": {"type": "fixed", "name": "mark", "size": _MARK_BYTES}},
        ],
    }
)
_BLOCK = fastavro.parse_schema(
    {
        "type": "record",
        "name": "block",
        "fields": [
            {"name": "count", "type": "long"},
            {"name": "content", "type": "bytes"},
            {"name": "mark", "type": {"type": "fixed", "name": "mark", "size": _MARK_BYTES}},
        ],
    }
)
UNDECODABLE = (EOFError, IndexError, ValueError, OverflowError, MemoryError, RecursionError)
# Rows that become columns at once. Blocks are small, and a column is not made faster by more rows than that.
_BATCH = 10_000
# No writer makes larger blocks; the count of a broken one that says more is part of what is broken.
_MOST_ROWS = 1_000_000
_NOTHING = Kind(pl.Null())

_Row = tuple[int, Mapping[str, Any]]
_Malformed = tuple[int, str, str]


class NotAvro(ValueError):
    """The bytes are no container file that can be opened."""


class _Broken(Exception):
    """A stretch of the file cannot be decoded; its rows are `rows`, or nobody knows how many (none)."""

    def __init__(self, why: str, rows: int | None = None) -> None:
        super().__init__(why)
        self.rows = rows


@dataclass(frozen=True, slots=True)
class _Block:
    """A block, or what lies where one should be, up to the next mark (`content` is none)."""

    start: int
    end: int
    count: int = 0
    content: bytes | None = None


def read_avro(data: bytes) -> RawRows:
    """Return the rows of an Avro object container file, numbered in its order.

    Every row of a block that cannot be decoded is `malformed(block)`. Where no block can be found, as in a file that
    was cut, all bytes up to the next mark are one entry `malformed(gap)`: how many rows they held is not known. A row
    whose text is not UTF-8 is `malformed(encoding)`, one with a value that its type does not allow `malformed(value)`.

    Parameters
    ----------
    data
        The file. One that was cut exactly between two blocks is a whole file to Avro, and to this.

    Raises
    ------
    NotAvro
        When the header cannot be read, its rows are not records, or its codec is unknown here.
    """
    schema, decompress, mark, start = _header(data)
    malformed: list[_Malformed] = []
    rows: list[_Row] = []
    columns = RowColumns(schema.columns, malformed)
    position = 0
    for block in _blocks(data, start, mark):
        try:
            decoded = _decoded(block, decompress, schema.stored)
        except _Broken as error:
            reason = "malformed(gap)" if error.rows is None else "malformed(block)"
            lost = range(position, position + (error.rows or 1))
            malformed += [(row, f"bytes {block.start} to {block.end}: {error}", reason) for row in lost]
            position = lost.stop
            continue
        rows += enumerate(decoded, position)
        position += len(decoded)
        if len(rows) >= _BATCH:
            columns.add(rows)
            rows = []
    columns.add(rows)
    return RawRows(columns.parts(), malformed_table(malformed))


def _header(data: bytes) -> tuple[RowSchema, Callable[[bytes], bytes], bytes, int]:
    """Return what the header says: the schema, how content is decompressed, the mark, and where blocks begin."""
    if not data.startswith(_MAGIC):
        raise NotAvro(f"it begins with {data[:4]!r} instead of {_MAGIC!r}: say in its feed which format it has")
    stream = io.BytesIO(data)
    try:
        header: Any = fastavro.schemaless_reader(stream, _HEADER, None)
        codec = header["meta"].get("avro.codec", b"null").decode()
        schema = row_schema(orjson.loads(header["meta"]["avro.schema"]))
    except KeyError as error:
        raise NotAvro(f"its header has no {error}: write the file again") from error
    except (*UNDECODABLE, SchemaParseException, UnknownType) as error:
        raise NotAvro(f"its header cannot be read: {'it is cut' if isinstance(error, EOFError) else error}") from error
    if codec not in _DECOMPRESS:
        raise NotAvro(f"it is compressed with `{codec}`, which cannot be read: write it with {', '.join(_DECOMPRESS)}")
    return schema, _DECOMPRESS[codec], header["mark"], stream.tell()


def _blocks(data: bytes, start: int, mark: bytes) -> Iterator[_Block]:
    """Yield all bytes from `start` on, block by block."""
    stream = io.BytesIO(data)
    while start < len(data):
        stream.seek(start)
        try:
            read: Any = fastavro.schemaless_reader(stream, _BLOCK, None)
        except UNDECODABLE:
            read = None
        if read is not None and read["mark"] == mark and read["count"] >= 0:
            yield _Block(start, stream.tell(), read["count"], read["content"])
            start = stream.tell()
        else:
            found = data.find(mark, start)
            end = len(data) if found < 0 else found + len(mark)
            yield _Block(start, end)
            start = end


def _decoded(block: _Block, decompress: Callable[[bytes], bytes], schema: Any) -> list[Mapping[str, Any]]:
    """Return the rows of a block, all of them and nothing else in it; raises `_Broken`."""
    if block.content is None:
        raise _Broken("no whole block is here, and how many rows are lost is not known: look at how it was written")
    believed = block.count if 0 < block.count <= _MOST_ROWS else None
    try:
        content = decompress(block.content)
    except _UNDECOMPRESSED as error:
        raise _Broken(f"{block.count} rows that cannot be decompressed: {error}", believed) from error
    if block.count > len(content):
        # Every row that holds something has a byte, and a count that is broken may be any number.
        raise _Broken(f"{block.count} rows are said to be in {len(content)} bytes")
    stream = io.BytesIO(content)
    rows: list[Any] = []
    try:
        for _ in range(block.count):
            rows.append(fastavro.schemaless_reader(stream, schema, None, handle_unicode_errors="surrogateescape"))
    except UNDECODABLE as error:
        raise _Broken(f"row {len(rows)} of its {block.count} does not follow the schema", believed) from error
    if stream.tell() < len(content):
        raise _Broken(f"{len(content) - stream.tell()} bytes follow its {block.count} rows", believed)
    return rows


class RowColumns:
    """Rows that become columns, a batch at a time."""

    def __init__(self, columns: Sequence[Column], malformed: list[_Malformed]) -> None:
        self._keyed = [(f"c{i}", column) for i, column in enumerate(columns)]
        self._unions = [(key, column) for key, column in self._keyed if len(column.kinds) > 1]
        self._malformed = malformed
        # By the type that each union chose.
        self._frames: dict[tuple[int, ...], list[pl.DataFrame]] = {}

    def add(self, rows: Sequence[_Row]) -> None:
        """Add rows; those with a value that its column cannot hold join the malformed."""
        alike: dict[tuple[int, ...], list[_Row]] = {}
        for numbered in rows:
            chosen = tuple(column.branch(numbered[1][key])[0] for key, column in self._unions)
            alike.setdefault(chosen, []).append(numbered)
        for chosen, members in alike.items():
            try:
                frame = self._frame(chosen, members)
            except MISFIT:
                frame = self._frame(chosen, [m for m in members if self._fits(chosen, m)])
            self._frames.setdefault(chosen, []).append(frame)

    def parts(self) -> tuple[RawPart, ...]:
        """Return all rows added, a part for each choice of types that unions made; without rows, an empty one."""
        if not self._frames:
            first = (0,) * len(self._unions)
            self._frames[first] = [self._frame(first, [])]
        return tuple(RawPart(pl.concat(frames)) for frames in self._frames.values())

    def _frame(self, chosen: tuple[int, ...], rows: Sequence[_Row]) -> pl.DataFrame:
        series = [pl.Series(ROW, np.array([position for position, _ in rows], np.int64))]
        branches = {key: branch for (key, _), branch in zip(self._unions, chosen, strict=True)}
        for key, column in self._keyed:
            values = [row[key] for _, row in rows]
            if key in branches:
                values = [column.branch(v)[1] for v in values]
            kind = column.kinds[branches.get(key, 0)] if column.kinds else _NOTHING
            series.append(kind.series(values).alias(column.name))
        return pl.DataFrame(series)

    def _fits(self, chosen: tuple[int, ...], numbered: _Row) -> bool:
        try:
            self._frame(chosen, [numbered])
        except MISFIT:
            position, row = numbered
            named = {column.name: column.branch(row[key])[1] for key, column in self._keyed}
            raw = json.dumps(named, ensure_ascii=False, default=str)
            readable = raw.encode(errors="backslashreplace").decode()
            self._malformed.append((position, readable, f"malformed({'value' if raw == readable else 'encoding'})"))
            return False
        return True


def _inflated(content: bytes) -> bytes:
    # Not `zlib.decompress`: some writers leave a part of a checksum behind the stream.
    return zlib.decompressobj(-15).decompress(content)


def _unsnapped(content: bytes) -> bytes:
    size = shift = 0
    for byte in content:
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    # Snappy writes at most 64 bytes for every 3: a larger size is damage, and would be allocated.
    if size > 32 * len(content):
        raise ValueError(f"{size} bytes are said to be in {len(content)}")
    data = pa.decompress(content[:-4], decompressed_size=size, codec="snappy", asbytes=True)
    if zlib.crc32(data) != int.from_bytes(content[-4:], "big"):
        raise ValueError("the checksum is that of other bytes")
    return data


def _unzstd(content: bytes) -> bytes:
    with pa.CompressedInputStream(pa.BufferReader(content), "zstd") as stream:
        return bytes(stream.read())


_DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "null": lambda content: content,
    "deflate": _inflated,
    "snappy": _unsnapped,
    "zstandard": _unzstd,
    "bzip2": bz2.decompress,
    "xz": lzma.decompress,
}
_UNDECOMPRESSED = (OSError, EOFError, ValueError, MemoryError, zlib.error, lzma.LZMAError, pa.ArrowException)
