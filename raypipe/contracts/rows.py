"""Rows as an object holds them, before any contract: typed where the format types them, text where it does not.

Knows positions and original text. Does not know formats or rules.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import numpy as np
import orjson
import polars as pl
import pyarrow as pa

ROW = "\0row"
"""Column of a part's frame: position of the row in its object, int64, from 0; blank lines are not rows."""
LINE = "\0line"
"""Column of a part's frame, where the format has lines: the row's own text."""

_MALFORMED: list[tuple[str, pa.DataType]] = [("row", pa.int64()), ("raw", pa.string()), ("reason", pa.string())]
MALFORMED = pa.schema(_MALFORMED)

_DAYS = ((date(1, 1, 1) - date(1970, 1, 1)).days, (date(9999, 12, 31) - date(1970, 1, 1)).days)
_PER_SECOND = {"ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


@dataclass(frozen=True, slots=True, eq=False)
class RawPart:
    """Rows of one object whose columns have one type each.

    Parameters
    ----------
    frame
        The columns as read, with `ROW` and perhaps `LINE`.
    text
        Whether the format has no types, so that a number arrives as text too (CSV).
    """

    frame: pl.DataFrame
    text: bool = False

    @property
    def columns(self) -> list[str]:
        """The object's own columns."""
        return [c for c in self.frame.columns if c not in (ROW, LINE)]


@dataclass(frozen=True, slots=True, eq=False)
class RawRows:
    """All rows of one object.

    Parameters
    ----------
    parts
        The rows that could be read. More than one part where a column changes its type between rows.
    malformed
        The rows that could not: row (int64), raw (string), reason (string, such as `malformed(json)`).
    """

    parts: tuple[RawPart, ...]
    malformed: pa.Table

    @property
    def num_rows(self) -> int:
        """All rows, malformed ones too."""
        return sum(p.frame.height for p in self.parts) + int(self.malformed.num_rows)

    @staticmethod
    def of(table: pa.Table) -> RawRows:
        """Return typed rows, numbered from 0, none malformed."""
        numbered = table.append_column(ROW, pa.array(np.arange(table.num_rows), pa.int64()))
        return RawRows((RawPart(pl.DataFrame(numbered)),), malformed_table([]))


def malformed_table(rows: Iterable[tuple[int, str, str]]) -> pa.Table:
    """Return (row, raw, reason) triples as a table in order of `row`."""
    named = [{"row": row, "raw": raw, "reason": reason} for row, raw, reason in sorted(rows)]
    return pa.Table.from_pylist(named, schema=MALFORMED)


def is_utf8(data: bytes) -> bool:
    """Return whether the bytes are text, without a copy of them."""
    offsets = pa.py_buffer(np.array([0, len(data)], np.int64).tobytes())
    try:
        pa.Array.from_buffers(pa.large_string(), 1, [None, offsets, pa.py_buffer(data)]).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def year_range(dtype: pl.Date | pl.Datetime) -> tuple[int, int]:
    """Return the first and last tick of the years 1 to 9999, which is what ISO 8601 and `datetime` can write."""
    per_day = 1 if isinstance(dtype, pl.Date) else 86_400 * _PER_SECOND[dtype.time_unit]
    # In nanoseconds 64 bits end long before those years do.
    return max(_DAYS[0] * per_day, -(2**63)), min((_DAYS[1] + 1) * per_day - 1, 2**63 - 1)


def as_json(frame: pl.DataFrame) -> pl.Series:
    """Return each row as the JSON object it was read as, or its own line.

    Parameters
    ----------
    frame
        Rows with `ROW` and perhaps `LINE`; times become ISO 8601, NaN and infinities their names as text.
    """
    if LINE in frame.columns:
        return frame[LINE]
    rows = _representable(frame.drop(ROW))
    if not rows.columns:
        return pl.Series(["{}"] * frame.height, dtype=pl.String)
    if not all(_encodes(d) for d in rows.dtypes):
        return _encode_slowly(rows)
    # JSON has no NaN, and Polars would write null: the reason of the refusal would be gone.
    floats = [pl.col(n).is_finite().not_() for n, d in rows.schema.items() if d.is_float()]
    odd = rows.select(pl.any_horizontal(floats).fill_null(False).alias("odd"))["odd"] if floats else None
    quick = rows.select(pl.struct(pl.all()).struct.json_encode().alias("json"))["json"]
    if odd is None or not odd.any():
        return quick
    return quick.scatter(odd.arg_true(), _encode_slowly(rows.filter(odd)))


def _encodes(dtype: pl.DataType) -> bool:
    simple = dtype.is_integer() or dtype.is_float() or dtype in (pl.String, pl.Boolean, pl.Null, pl.Date)
    return simple or isinstance(dtype, pl.Datetime)


def _representable(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with zoned times in UTC, and ticks instead of times where one has no year from 1 to 9999."""
    changed = []
    for column in rows.get_columns():
        if isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone not in (None, "UTC"):
            changed.append(column.dt.convert_time_zone("UTC"))
        if isinstance(column.dtype, pl.Datetime | pl.Date):
            ticks = column.to_physical()
            low, high = year_range(column.dtype)
            if not ticks.is_between(low, high).all():
                changed.append(ticks)
    names = {c.name: c for c in changed}
    return rows.with_columns(names.values()) if names else rows


def _encode_slowly(rows: pl.DataFrame) -> pl.Series:
    def encode(row: dict[str, object]) -> str:
        named = {k: str(v) if isinstance(v, float) and v - v != 0 else v for k, v in row.items()}
        return orjson.dumps(named, default=str).decode()

    return pl.Series([encode(row) for row in _python_holds(rows).iter_rows(named=True)], dtype=pl.String)


def _python_holds(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with times in nanoseconds as text, as a `datetime` would cut them off."""
    finer = [n for n, d in rows.schema.items() if isinstance(d, pl.Datetime) and d.time_unit == "ns"]
    zones = {n: "+00:00" if rows[n].dtype.time_zone else "" for n in finer}  # type: ignore[attr-defined]
    return rows.with_columns(pl.col(n).dt.to_string(f"%Y-%m-%dT%H:%M:%S%.9f{zone}") for n, zone in zones.items())
