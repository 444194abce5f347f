"""The values of messages as rows: JSON, Avro or Protobuf, one row each.

A message that cannot be decoded is malformed with its payload, base64 where that is not text; the others go on. What
becomes of one does not depend on those that were read with it. Does not know brokers, nor contracts.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

import fastavro
import numpy as np
import orjson
import polars as pl

from raypipe.contracts.avro import UNDECODABLE, RowColumns
from raypipe.contracts.avro_types import RowSchema, row_schema
from raypipe.contracts.jsonl import read_jsonl
from raypipe.contracts.protobuf import ProtobufRows
from raypipe.contracts.rows import ROW, RawPart, RawRows, malformed_table

LARGEST_BYTES = 1_048_576
"""A larger message is malformed: what brokers refuse too, unless they are told otherwise."""

_MAGIC = 0  # https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop (wire format)
_HEADER_BYTES = 5
_BOM = b"\xef\xbb\xbf"

_Malformed = tuple[int, str, str]


@dataclass(frozen=True, slots=True)
class AvroRows:
    """Messages that are one Avro datum each, written by this schema."""

    schema: RowSchema

    @staticmethod
    def of(schema: bytes) -> AvroRows:
        """Return how messages of an Avro schema (JSON) are read; raises `ValueError` where it is none."""
        return AvroRows(row_schema(json.loads(schema)))


@dataclass(frozen=True, slots=True)
class JsonRows:
    """Messages that are one JSON object each."""


@dataclass(frozen=True, slots=True)
class Codec:
    """How the values of a feed's messages are read.

    Parameters
    ----------
    rows
        What they are.
    schema_id
        The id that each must carry in the header of a schema registry; none means that they have no header.
    """

    rows: JsonRows | AvroRows | ProtobufRows
    schema_id: int | None = None


def read_messages(values: Sequence[bytes | None], codec: Codec) -> RawRows:
    """Return a row for each value, numbered in their order, malformed ones apart.

    Parameters
    ----------
    values
        None, as an empty value, is a tombstone: it says that a key is deleted, and no event.
    """
    if isinstance(codec.rows, JsonRows) and codec.schema_id is None and (quick := _read_json(values)) is not None:
        return quick
    bodies: dict[int, bytes] = {}
    malformed: list[_Malformed] = []
    for row, value in enumerate(values):
        body, reason = _body(value, codec)
        if reason:
            malformed.append((row, readable(value), reason))
        else:
            bodies[row] = body
    match codec.rows:
        case JsonRows():
            parts = _json_parts(bodies, values, malformed)
        case AvroRows(schema):
            parts = _avro_parts(schema, bodies, values, malformed)
        case ProtobufRows() as rows:
            parts = rows.parts(bodies, lambda row, reason: malformed.append((row, readable(values[row]), reason)))
        case _:
            assert_never(codec.rows)
    return RawRows(parts, malformed_table(malformed))


def readable(value: bytes | None) -> str:
    """Return a payload as text, base64 after `base64:` where it is not UTF-8.

    Examples
    --------
    >>> readable(b"plain"), readable(b"\\xff\\x00")
    ('plain', 'base64:/wA=')
    """
    try:
        return (value or b"").decode()
    except UnicodeDecodeError:
        return f"base64:{base64.b64encode(value or b'').decode()}"


def _read_json(values: Sequence[bytes | None]) -> RawRows | None:
    """Return the rows where each value is a line of its own, as nearly always; else none, and they are looked at."""
    if None in values:
        return None
    sizes = list(map(len, values))  # type: ignore[arg-type]
    if not sizes or max(sizes) > LARGEST_BYTES:
        return None
    joined = b"\n".join(values)  # type: ignore[arg-type]
    if joined.count(b"\n") != len(values) - 1 or joined.startswith(_BOM):
        return None
    try:
        joined.decode()
    except UnicodeDecodeError:
        return None
    read = read_jsonl(joined)
    # A blank value is no row there, and would move the numbers of those behind it.
    return read if read.num_rows == len(values) else None


def _body(value: bytes | None, codec: Codec) -> tuple[bytes, str]:
    """Return what is to be decoded, and why it cannot be (empty where it can)."""
    if not value:
        return b"", "malformed(tombstone)"
    if len(value) > LARGEST_BYTES:
        return b"", "malformed(size)"
    if codec.schema_id is None:
        return value, ""
    if value[0] != _MAGIC or len(value) < _HEADER_BYTES:
        return b"", "malformed(header)"
    if int.from_bytes(value[1:_HEADER_BYTES], "big") != codec.schema_id:
        return b"", "malformed(schema_id)"
    body = value[_HEADER_BYTES:]
    return _without_indexes(body) if isinstance(codec.rows, ProtobufRows) else (body, "")


def _without_indexes(body: bytes) -> tuple[bytes, str]:
    """Return a Protobuf message without the list that says which message of its file it is."""
    try:
        count, at = _zigzag(body, 0)
        for _ in range(count):
            _, at = _zigzag(body, at)
    except IndexError:
        return b"", "malformed(header)"
    return body[at:], ""


def _zigzag(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at


def _json_parts(
    bodies: Mapping[int, bytes], values: Sequence[bytes | None], malformed: list[_Malformed]
) -> tuple[RawPart, ...]:
    lines: list[bytes] = []
    rows: list[int] = []
    for row, body in bodies.items():
        try:
            body.decode()
            if body.startswith(_BOM) or not body.strip(b" \t\r\n"):
                raise ValueError("not JSON")
            if b"\n" in body:
                # A line break is JSON only between its parts: where it was valid before, a blank says the same.
                orjson.loads(body)
        except UnicodeDecodeError:
            malformed.append((row, readable(values[row]), "malformed(encoding)"))
        except ValueError:
            malformed.append((row, readable(values[row]), "malformed(json)"))
        else:
            lines.append(body.replace(b"\n", b" "))
            rows.append(row)
    read = read_jsonl(b"\n".join(lines))
    places = np.array(rows, np.int64)
    malformed += [(rows[r["row"]], r["raw"], r["reason"]) for r in read.malformed.to_pylist()]
    return tuple(
        RawPart(p.frame.with_columns(pl.Series(ROW, places[p.frame[ROW].to_numpy()], pl.Int64))) for p in read.parts
    )


def _avro_parts(
    schema: RowSchema, bodies: Mapping[int, bytes], values: Sequence[bytes | None], malformed: list[_Malformed]
) -> tuple[RawPart, ...]:
    rows: list[tuple[int, Mapping[str, Any]]] = []
    for row, body in bodies.items():
        stream = io.BytesIO(body)
        try:
            read: Any = fastavro.schemaless_reader(stream, schema.stored, None, handle_unicode_errors="surrogateescape")
        except UNDECODABLE:
            read = None
        if read is None or stream.tell() < len(body):
            malformed.append((row, readable(values[row]), "malformed(avro)"))
        else:
            rows.append((row, read))
    odd: list[_Malformed] = []
    columns = RowColumns(schema.columns, odd)
    columns.add(rows)
    malformed += [(row, readable(values[row]), reason) for row, _, reason in odd]
    return columns.parts()
