"""The text of dead letters as the rows that their object held, and as what a person may see of them.

A JSON line says all itself. The text of a CSV, Parquet or Avro row is JSON, which has fewer types than they have, so a
letter keeps the types of its columns beside it. Knows rows and contracts; does not know tables.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import polars as pl

from raypipe.contracts.contract import Contract
from raypipe.contracts.jsonl import read_jsonl
from raypipe.contracts.rows import LINE, ROW, RawPart, RawRows, malformed_table

MASK = "***"
"""What stands for a value that its contract does not call public."""

_TEXT, _OTHER = "text", "other"
_EXACT: dict[str, pl.DataType] = {
    str(d): d
    for d in (
        *(pl.Null(), pl.Boolean(), pl.Float32(), pl.Float64(), pl.String()),
        *(pl.Int8(), pl.Int16(), pl.Int32(), pl.Int64(), pl.Int128()),
        *(pl.UInt8(), pl.UInt16(), pl.UInt32(), pl.UInt64(), pl.UInt128()),
    )
}


def types_of(part: RawPart) -> str | None:
    """Return the types of a part's columns as `rows_of` takes them; None where each row's text is a JSON line."""
    if LINE in part.frame.columns:
        return None
    named = {n: _TEXT if part.text else _name(part.frame.schema[n]) for n in part.columns}
    return json.dumps(named, ensure_ascii=False)


def _name(dtype: pl.DataType) -> str:
    match dtype:
        case pl.Categorical() | pl.Enum():
            return str(pl.String())
        case pl.Date():
            return "Date"
        case pl.Datetime():
            # Its text is in UTC, whatever its zone was.
            return f"Datetime {dtype.time_unit}{' UTC' if dtype.time_zone else ''}"
        case pl.Decimal():
            return f"Decimal {dtype.precision} {dtype.scale}"
        case _:
            return str(dtype) if str(dtype) in _EXACT else _OTHER


def rows_of(raw: Sequence[str], types: Sequence[str | None]) -> RawRows:
    """Return the rows as their format read them, numbered by their place in `raw`.

    A value of a type that no contract takes (bytes, lists, records, times of day) is only known to be there.

    Parameters
    ----------
    raw
        Texts of rows that could be read, as `as_json` made them.
    types
        Of each, what `types_of` said.
    """
    places: dict[str | None, list[int]] = {}
    for place, kind in enumerate(types):
        places.setdefault(kind, []).append(place)
    lines = read_jsonl("\n".join(raw[p] for p in places.get(None, ())).encode())
    found = pl.Series(places.pop(None, []), dtype=pl.Int64)
    parts = [RawPart(p.frame.with_columns(found.gather(p.frame[ROW]).alias(ROW)), p.text) for p in lines.parts]
    parts += [_part(json.loads(str(kind)), raw, of_kind) for kind, of_kind in places.items()]
    broken = [(found[r["row"]], r["raw"], r["reason"]) for r in lines.malformed.to_pylist()]
    return RawRows(tuple(parts), malformed_table(broken))


def _part(types: Mapping[str, str], raw: Sequence[str], places: Sequence[int]) -> RawPart:
    rows = [json.loads(raw[place]) for place in places]
    columns = [pl.Series(ROW, places, pl.Int64)]
    columns += [_series(kind, [row[name] for row in rows]).alias(name) for name, kind in types.items()]
    return RawPart(pl.DataFrame(columns), text=_TEXT in types.values())


def _series(kind: str, values: Sequence[Any]) -> pl.Series:
    match kind.split():
        case ["text"]:
            return pl.Series(values, dtype=pl.String)
        case ["Float32" | "Float64"]:
            # NaN and infinities arrive as their names.
            return pl.Series([None if v is None else float(v) for v in values], dtype=_EXACT[kind])
        case ["Decimal", precision, scale]:
            exact = [None if v is None else Decimal(v) for v in values]
            return pl.Series(exact, dtype=pl.Decimal(int(precision), int(scale)))
        case ["Date"]:
            return _ticks(values, pl.Date())
        case ["Datetime", unit, *zone]:
            return _ticks(values, pl.Datetime(unit, *zone))  # type: ignore[arg-type]
        case ["other"]:
            return pl.Series([None if v is None else b"" for v in values], dtype=pl.Binary)
        case _:
            return pl.Series(values, dtype=_EXACT[kind])


def _ticks(values: Sequence[Any], dtype: pl.Date | pl.Datetime) -> pl.Series:
    """Return times from ISO 8601, or from ticks where one beside them had a year that it cannot write."""
    texts = pl.Series([v if isinstance(v, str) else None for v in values], dtype=pl.String)
    ticks = pl.Series([None if isinstance(v, str) else v for v in values], dtype=pl.Int64)
    if isinstance(dtype, pl.Date):
        parsed = texts.str.to_date("%Y-%m-%d")
    else:
        local = texts.str.replace(" ", "T", literal=True).str.replace(r"(?:Z|\+00:00)$", "")
        parsed = local.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit=dtype.time_unit)
    written = parsed.to_physical().cast(pl.Int64)
    return written.zip_with(texts.is_not_null(), ticks).cast(pl.Int32 if dtype == pl.Date else pl.Int64).cast(dtype)


def masked(raw: str, contract: Contract | None) -> str:
    """Return the text of a letter with only those values that its contract classifies as public.

    Text that is no JSON object has no columns, so it is shown only where all of the contract's are public. Without a
    contract nothing is.
    """
    public = {f.name for f in contract.fields if _is_public(f.classification)} if contract else set()
    try:
        row = json.loads(raw)
    except json.JSONDecodeError:
        row = None
    if isinstance(row, dict):
        shown = {k: v if v is None or k in public else MASK for k, v in row.items()}
        return json.dumps(shown, ensure_ascii=False)
    return raw if contract and len(public) == len(contract.fields) else MASK


def _is_public(classification: str | None) -> bool:
    return (classification or "").casefold() == "public"
