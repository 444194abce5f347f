"""Values as read -> values as promised, or null where they are not that.

Strict: text is a number or a time only when all of it is, in the stated form, and nothing is rounded. Polars
expressions, so that it costs one pass. Knows types. Does not know rules.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from raypipe.contracts.contract import Field, TimeText
from raypipe.contracts.rows import year_range
from raypipe.contracts.times import ISO_DATE, ISO_TIMESTAMP

_INTEGER = r"^-?[0-9]+$"
_NUMBER = r"^-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
# The largest magnitude below which a double holds every integer.
_EXACT = 2**53


@dataclass(frozen=True, slots=True)
class Parsed:
    """How one column becomes its field.

    Parameters
    ----------
    value
        The typed value; null where there is none or it has the wrong type.
    missing
        Whether there is no value at all.
    total
        Whether every value there is has the right type, so that nobody need look.
    never
        Whether none can have it, as the column is of another type.
    nan
        Whether the value is NaN, which counts as missing; none where the column cannot hold it.
    """

    value: pl.Expr
    missing: pl.Expr
    total: bool = False
    never: bool = False
    nan: pl.Expr | None = None


def parse(raw: pl.Expr, dtype: pl.DataType, field: Field, *, text: bool) -> Parsed:
    """Return how a column becomes the field.

    Parameters
    ----------
    raw
        The column.
    dtype
        Its type as read.
    field
        What it is promised to be.
    text
        Whether its format writes numbers as text (CSV). Elsewhere text is never a number.
    """
    missing = raw.is_null()
    if dtype == pl.Null:
        return Parsed(raw.cast(_target(field)), missing, total=True)
    if isinstance(dtype, pl.Categorical | pl.Enum):
        raw, dtype = raw.cast(pl.String), pl.String()
    nan = raw.is_nan() if dtype.is_float() and field.type in (pa.int64(), pa.float64()) else None
    value, total = _typed(raw, dtype, field, text=text)
    if value is None:
        return Parsed(pl.lit(None, _target(field)), missing, never=True)
    return Parsed(value, missing if nan is None else missing | nan, total, nan=nan)


def _target(field: Field) -> pl.DataType:
    return pl.Series(pa.array([], field.type)).dtype


def _typed(raw: pl.Expr, dtype: pl.DataType, field: Field, *, text: bool) -> tuple[pl.Expr | None, bool]:
    """Return the expression of the value (None: the types never fit) and whether it fits always."""
    written = dtype == pl.String
    match str(field.type):
        case "string":
            return (raw, True) if written else (None, False)
        case "int64":
            return _integer(raw, dtype, text=text)
        case "double":
            return _number(raw, dtype, text=text)
        case "bool" if dtype == pl.Boolean:
            return raw, True
        case "bool" if text:
            return raw.replace_strict({"true": True, "false": False}, default=None, return_dtype=pl.Boolean), False
        case "date32[day]" if dtype == pl.Date:
            return _when(raw.to_physical().is_between(*year_range(pl.Date())), raw), False
        case "date32[day]" if written:
            form = field.text or ISO_DATE
            parsed = raw.str.to_date(form.directives, strict=False)
            return _when(
                raw.str.contains(form.pattern) & parsed.to_physical().is_between(*year_range(pl.Date())), parsed
            ), False
        case "timestamp[us, tz=UTC]" if isinstance(dtype, pl.Datetime):
            return _instant(raw, dtype, field.text or ISO_TIMESTAMP)
        case "timestamp[us, tz=UTC]" if written:
            return _written_instant(raw, field.text or ISO_TIMESTAMP), False
        case _:
            return None, False


def _when(condition: pl.Expr, value: pl.Expr) -> pl.Expr:
    return pl.when(condition).then(value)


def _integer(raw: pl.Expr, dtype: pl.DataType, *, text: bool) -> tuple[pl.Expr | None, bool]:
    if dtype.is_integer():
        return raw.cast(pl.Int64, strict=False), dtype not in (pl.UInt64, pl.Int128, pl.UInt128)
    if dtype.is_float():
        whole = (raw.floor() == raw) & (raw.abs() <= _EXACT)
        return _when(whole, raw).cast(pl.Int64, strict=False), False
    if text:
        return _when(raw.str.contains(_INTEGER), raw.cast(pl.Int64, strict=False)), False
    return None, False


def _number(raw: pl.Expr, dtype: pl.DataType, *, text: bool) -> tuple[pl.Expr | None, bool]:
    if dtype.is_integer():
        return raw.cast(pl.Float64), True
    if dtype.is_float() or dtype.is_decimal():
        value = raw.cast(pl.Float64)
        return _when(value.is_finite(), value), False
    if text:
        value = raw.cast(pl.Float64, strict=False)
        return _when(raw.str.contains(_NUMBER) & value.is_finite(), value), False
    return None, False


def _instant(raw: pl.Expr, dtype: pl.Datetime, form: TimeText) -> tuple[pl.Expr | None, bool]:
    if dtype.time_zone is None:
        if form.zoned:
            return None, False
        moment = raw.dt.replace_time_zone("UTC")
    else:
        moment = raw.dt.convert_time_zone("UTC")
    ticks = raw.to_physical()
    # The lake keeps microseconds, and cutting off nanoseconds would be silent.
    possible = ticks % 1_000 == 0 if dtype.time_unit == "ns" else ticks.is_between(*year_range(dtype))
    return _when(possible, moment.dt.cast_time_unit("us")), False


def _written_instant(raw: pl.Expr, form: TimeText) -> pl.Expr:
    if form.zoned:
        # Whole seconds in UTC are what most write, and reading them apart is six times faster than with a zone.
        quick = raw.str.to_datetime("%Y-%m-%dT%H:%M:%SZ", strict=False, time_unit="us", cache=False)
        others = _when(quick.is_null(), raw)
        slow = others.str.to_datetime(form.directives, strict=False, time_unit="us", time_zone="UTC", cache=False)
        moment = pl.coalesce(quick.dt.replace_time_zone("UTC"), slow)
    else:
        moment = raw.str.to_datetime(form.directives, strict=False, time_unit="us").dt.replace_time_zone("UTC")
    return _when(
        raw.str.contains(form.pattern) & moment.to_physical().is_between(*year_range(pl.Datetime("us"))), moment
    )
