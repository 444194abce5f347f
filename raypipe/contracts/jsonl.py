"""JSON lines: read whole where Arrow can, line by line only around what it cannot.

Arrow's reader is fast and gives a column one type, so it serves where all rows agree. Where they do not, rows are
split into parts that do; the types of a row never depend on its neighbours. Does not know contracts.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from raypipe.contracts.rows import LINE, ROW, RawPart, RawRows, is_utf8, malformed_table

# Rows read one by one when one among them is odd. Of 100, 250, 1,000 and 4,000 the fastest with one odd row in 500.
_CHUNK = 250
# Above this a double no longer holds every integer, so Arrow's promotion of a column to double would change values.
_EXACT = 2.0**53

_DTYPES: dict[type, type[pl.DataType]] = {
    bool: pl.Boolean,
    int: pl.Int128,
    float: pl.Float64,
    str: pl.String,
    list: pl.Binary,
    dict: pl.Binary,
}

_Single = tuple[int, str, dict[str, Any]]
_Malformed = tuple[int, str, str]


def read_jsonl(data: bytes) -> RawRows:
    """Return the rows of a JSON lines object; every line that is not blank is a row or malformed.

    Parameters
    ----------
    data
        UTF-8, one JSON object a line. A line that is not UTF-8, not JSON or not an object is malformed.
    """
    lines, malformed = _lines(data)
    shaped = lines.filter(pl.col(LINE).str.starts_with("{") & pl.col(LINE).str.ends_with("}"))
    parts, odd = _read_chunks(shaped)
    if shaped.height < lines.height:
        odd.append(lines.join(shaped, on=ROW, how="anti"))
    pairs = ((row, line) for frame in odd for row, line in frame.select(ROW, LINE).iter_rows())
    return RawRows((*parts, *_read_singly(pairs, malformed)), malformed_table(malformed))


def _lines(data: bytes) -> tuple[pl.DataFrame, list[_Malformed]]:
    """Return the lines that are text (`ROW`, `LINE`) and those that are not."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")) + 1
    offsets = np.concatenate([[0], ends, [len(data)]]).astype(np.int64)
    if is_utf8(data):
        buffers = [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(data)]
        array = pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, buffers)
        return _numbered(pl.DataFrame({LINE: pl.Series(array)})), []
    decoded = [_decoded(data[a:b]) for a, b in pairwise(offsets)]
    frame = _numbered(pl.DataFrame(decoded, schema={LINE: pl.String, "valid": pl.Boolean}, orient="row"))
    broken = frame.filter(~pl.col("valid")).select(ROW, LINE)
    return frame.filter("valid").select(ROW, LINE), [(row, raw, "malformed(encoding)") for row, raw in broken.rows()]


def _decoded(line: bytes) -> tuple[str, bool]:
    try:
        return line.decode(), True
    except UnicodeDecodeError:
        return line.decode(errors="backslashreplace"), False


def _numbered(frame: pl.DataFrame) -> pl.DataFrame:
    stripped = frame.with_columns(pl.col(LINE).str.strip_chars(" \t\r\n")).filter(pl.col(LINE) != "")
    return stripped.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias(ROW))


def _read_chunks(lines: pl.DataFrame) -> tuple[list[RawPart], list[pl.DataFrame]]:
    """Return the parts that Arrow could read, and the lines of chunks that it could not."""
    if lines.height == 0:
        return [], []
    whole = _read_block(lines)
    if whole is not None:
        return [RawPart(whole)], []
    parts: list[pl.DataFrame] = []
    odd: list[pl.DataFrame] = []
    for chunk in lines.iter_slices(_CHUNK):
        frame = _read_block(chunk)
        if frame is None:
            odd.append(chunk)
        elif parts and parts[-1].schema == frame.schema:
            parts[-1] = parts[-1].vstack(frame)
        else:
            parts.append(frame)
    return [RawPart(p) for p in parts], odd


def _read_block(lines: pl.DataFrame) -> pl.DataFrame | None:
    """Return the rows, or None unless Arrow's reading of them is exactly what each line alone says."""
    block = "\n".join(lines[LINE].to_list()).encode() + b"\n"
    table = _parsed(block, {})
    if table is None or table.num_rows != lines.height or not {ROW, LINE}.isdisjoint(table.column_names):
        return None
    for i, column in enumerate(table.columns):
        if pa.types.is_float64(column.type):
            # Arrow reads NaN, which is not JSON, and rounds integers above 2^53 beside a fraction.
            if not pc.all(pc.less(pc.abs(column), pa.scalar(_EXACT)), min_count=0).as_py():
                return None
        elif pa.types.is_nested(column.type):
            marks = pc.if_else(pc.is_valid(column), pa.scalar(b"", pa.binary()), pa.scalar(None, pa.binary()))
            table = table.set_column(i, table.column_names[i], marks)
    frame = pl.DataFrame({ROW: lines[ROW], LINE: lines[LINE]})
    return frame.hstack(pl.DataFrame(table).get_columns()) if table.num_columns else frame


def _parsed(block: bytes, texts: dict[str, pa.DataType]) -> pa.Table | None:
    if not texts:
        # Text that looks like a time would become one, without the zone it does not have.
        try:
            first = orjson.loads(block[: block.index(b"\n")])
        except orjson.JSONDecodeError:
            return None
        texts = {k: pa.string() for k, v in first.items() if isinstance(v, str)}
    try:
        table = pj.read_json(
            io.BytesIO(block),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(block) + 1),
            parse_options=pj.ParseOptions(explicit_schema=pa.schema(list(texts.items()))),
        )
    except pa.ArrowInvalid:
        return None
    guessed = [f.name for f in table.schema if pa.types.is_timestamp(f.type)]
    return _parsed(block, texts | dict.fromkeys(guessed, pa.string())) if guessed else table


def _read_singly(lines: Iterable[tuple[int, str]], malformed: list[_Malformed]) -> Iterator[RawPart]:
    """Yield parts in which no column has two kinds of value; lines that are not objects join `malformed`."""
    alike: dict[tuple[object, ...], list[_Single]] = {}
    for row, line in lines:
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            malformed.append((row, line, "malformed(json)"))
            continue
        if not isinstance(value, dict) or ROW in value or LINE in value:
            malformed.append((row, line, "malformed(object)"))
            continue
        alike.setdefault((*value, *map(type, value.values())), []).append((row, line, value))
    groups: list[tuple[dict[str, type], list[_Single]]] = []
    for rows in alike.values():
        kinds = {k: type(v) for k, v in rows[0][2].items() if v is not None}
        for known, members in groups:
            if all(known.get(k, kind) is kind for k, kind in kinds.items()):
                known.update(kinds)
                members.extend(rows)
                break
        else:
            groups.append((kinds, rows))
    for known, members in groups:
        yield RawPart(_frame(known, members))


def _frame(kinds: dict[str, type], rows: list[_Single]) -> pl.DataFrame:
    columns = {ROW: pl.Series([r[0] for r in rows], dtype=pl.Int64), LINE: pl.Series([r[1] for r in rows])}
    for name, kind in kinds.items():
        values = [r[2].get(name) for r in rows]
        if kind in (list, dict):
            values = [None if v is None else b"" for v in values]
        columns[name] = pl.Series(values, dtype=_DTYPES[kind])
    return pl.DataFrame(columns).sort(ROW)
