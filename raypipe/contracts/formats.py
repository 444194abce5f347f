"""The bytes of one object as rows: Parquet, Avro, CSV or JSON lines, plain or compressed.

A row that is broken is set aside and the others go on; only an object that cannot be opened at all is an error.
Does not know contracts, nor where bytes come from.
"""

from __future__ import annotations

import csv
import io
from typing import Literal, assert_never

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as pcsv

from raypipe.contracts.avro import NotAvro, read_avro
from raypipe.contracts.jsonl import read_jsonl
from raypipe.contracts.rows import LINE, ROW, RawPart, RawRows, is_utf8, malformed_table
from raypipe.errors import RaypipeError

Format = Literal["parquet", "csv", "jsonl", "avro"]

_COMPRESSION: dict[str, Literal["gzip", "zstd", "bz2"]] = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}


class Unreadable(RaypipeError):
    """An object is not in the format its feed states; none of its rows is known."""


def read_rows(data: bytes, format: Format, *, uri: str = "") -> RawRows:
    """Return every row of the object, malformed ones apart.

    Parameters
    ----------
    data
        The object's bytes.
    format
        What the feed states. CSV has a header and is UTF-8; an empty field is null. JSON lines are UTF-8 objects.
        Avro is an object container file of records.
    uri
        Its name, whose suffix `.gz`, `.zst` or `.bz2` says how CSV and JSON lines are compressed.

    Raises
    ------
    Unreadable
        When the bytes are not of that format at all.
    """
    name = uri or "the object"
    if format in ("csv", "jsonl"):
        data = _decompressed(data, name)
    match format:
        case "parquet":
            return _read_parquet(data, name)
        case "csv":
            return _read_csv(data, name)
        case "jsonl":
            return read_jsonl(data)
        case "avro":
            return _read_avro(data, name)
        case _:
            assert_never(format)


def _decompressed(data: bytes, name: str) -> bytes:
    codec = next((c for suffix, c in _COMPRESSION.items() if name.endswith(suffix)), None)
    if codec is None:
        return data
    try:
        with pa.CompressedInputStream(pa.BufferReader(data), codec) as stream:
            return bytes(stream.read())
    except (OSError, pa.ArrowException) as error:
        raise Unreadable(f"{name} is not {codec}: {error}") from error


def _read_parquet(data: bytes, name: str) -> RawRows:
    try:
        frame = pl.read_parquet(io.BytesIO(data), use_statistics=False)
        numbered = frame.insert_column(0, pl.Series(ROW, np.arange(frame.height), pl.Int64))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise Unreadable(f"{name} is not Parquet that can be read: {error}") from error
    return RawRows((RawPart(numbered),), malformed_table([]))


def _read_avro(data: bytes, name: str) -> RawRows:
    try:
        return read_avro(data)
    except NotAvro as error:
        raise Unreadable(f"{name} is not Avro that can be read: {error}") from error


def _read_csv(data: bytes, name: str) -> RawRows:
    data = data.removeprefix(b"\xef\xbb\xbf")
    names = _header(data, name)
    broken: list[tuple[int, str, str]] = []

    def set_aside(row: pcsv.InvalidRow) -> Literal["skip", "error"]:
        # Arrow counts records from 1 and the header is the first; it counts for a single reader only.
        broken.append((int(row.number or 0) - 2, row.text, "malformed(columns)"))
        return "skip"

    kind = pa.string() if is_utf8(data) else pa.binary()
    try:
        table = pcsv.read_csv(
            io.BytesIO(data if data.endswith(b"\n") else data + b"\n"),
            read_options=pcsv.ReadOptions(use_threads=False),
            parse_options=pcsv.ParseOptions(newlines_in_values=True, invalid_row_handler=set_aside),
            convert_options=pcsv.ConvertOptions(
                column_types=dict.fromkeys(names, kind),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise Unreadable(f"{name} is not CSV that can be read: {error}") from error
    if table.column_names != names:
        raise Unreadable(f"the header of {name} cannot be read: {names} or {table.column_names}")
    rows = np.delete(np.arange(table.num_rows + len(broken)), [row for row, _, _ in broken])
    frame = pl.DataFrame(table).insert_column(0, pl.Series(ROW, rows, pl.Int64))
    if kind == pa.binary():
        frame, undecodable = _decoded(frame)
        broken += undecodable
    return RawRows((RawPart(frame, text=True),), malformed_table(broken))


def _header(data: bytes, name: str) -> list[str]:
    text = io.TextIOWrapper(io.BytesIO(data), "utf-8", errors="replace", newline="")
    names = next((row for row in csv.reader(text) if row), None)
    if names is None:
        raise Unreadable(f"{name} is empty: CSV begins with a header")
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise Unreadable(f"the header of {name} names the column {twice!r} twice: which one is meant is not known")
    if not {ROW, LINE}.isdisjoint(names):
        raise Unreadable(f"the header of {name} has a column whose name begins with NUL: rename it")
    return names


def _decoded(frame: pl.DataFrame) -> tuple[pl.DataFrame, list[tuple[int, str, str]]]:
    """Return the rows of which every value is UTF-8, as text, and the others as malformed."""
    broken = []
    for row, *values in frame.iter_rows():
        try:
            for value in values:
                (value or b"").decode()
        except UnicodeDecodeError:
            raw = ",".join((v or b"").decode(errors="backslashreplace") for v in values)
            broken.append((row, raw, "malformed(encoding)"))
    kept = frame.filter(~pl.col(ROW).is_in([row for row, _, _ in broken]))
    return kept.with_columns(pl.exclude(ROW).cast(pl.String)), broken
