"""What an Avro schema says about the columns of its rows, and values of its types as Polars columns.

A schema is rewritten so that rows come out as they were stored: without logical types, which would turn a time that
Python cannot write into an error, and with the branch of a union beside its value. Does not know files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any, Literal
from uuid import UUID

import fastavro
import orjson
import polars as pl

from raypipe.contracts.rows import LINE, ROW

MISFIT = (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError)
"""What `Kind.series` raises where a value is not what its type allows."""

_PLAIN: dict[str, pl.DataType] = {
    "boolean": pl.Boolean(),
    "int": pl.Int32(),
    "long": pl.Int64(),
    "float": pl.Float32(),
    "double": pl.Float64(),
    "bytes": pl.Binary(),
    "fixed": pl.Binary(),
    "string": pl.String(),
    "enum": pl.String(),
}
_TIMES: dict[tuple[str, str], pl.DataType] = {
    ("int", "date"): pl.Date(),
    ("long", "timestamp-millis"): pl.Datetime("ms", "UTC"),
    ("long", "timestamp-micros"): pl.Datetime("us", "UTC"),
    ("long", "timestamp-nanos"): pl.Datetime("ns", "UTC"),
    ("long", "local-timestamp-millis"): pl.Datetime("ms"),
    ("long", "local-timestamp-micros"): pl.Datetime("us"),
    ("long", "local-timestamp-nanos"): pl.Datetime("ns"),
}
_OF_DAY: dict[tuple[str, str], int] = {("int", "time-millis"): 1_000_000, ("long", "time-micros"): 1_000}
_NANOSECONDS_A_DAY = 86_400_000_000_000
_DIGITS = 38  # a Polars decimal holds so many
_NAMED = ("record", "error", "enum", "fixed")
_PRIMITIVE = _PLAIN.keys() - set(_NAMED)


@dataclass(frozen=True, slots=True)
class Kind:
    """How values of one type become a column.

    Parameters
    ----------
    dtype
        The column's type.
    form
        How a value was stored: as the column holds it, as ticks, as nanoseconds of a day by `scale`, as an unscaled
        number, as the 16 bytes of a UUID, or nested, which no contract has a type for: kept as JSON in binary.
    scale
        Decimal places, or nanoseconds a tick.
    precision
        Most digits of a decimal.
    """

    dtype: pl.DataType
    form: Literal["plain", "ticks", "of_day", "decimal", "uuid", "nested"] = "plain"
    scale: int = 0
    precision: int = 0

    def series(self, values: Sequence[Any]) -> pl.Series:
        """Return the values as a column, none rounded; raises one of `MISFIT` where one is not of the type."""
        match self.form:
            case "plain":
                return pl.Series(values, dtype=self.dtype)
            case "ticks":
                return pl.Series(values, dtype=pl.Int64).cast(self.dtype)
            case "of_day":
                ticks = pl.Series(values, dtype=pl.Int64)
                if not ticks.is_between(0, _NANOSECONDS_A_DAY // self.scale - 1).all():
                    raise ValueError("a time of day is not within a day")
                return (ticks * self.scale).cast(self.dtype)
            case "decimal":
                return pl.Series([None if v is None else self._decimal(v) for v in values], dtype=self.dtype)
            case "uuid":
                return pl.Series([None if v is None else str(UUID(bytes=v)) for v in values], dtype=self.dtype)
            case "nested":
                encoded = [None if v is None else orjson.dumps(v, default=str) for v in values]
                return pl.Series(encoded, dtype=self.dtype)

    def _decimal(self, stored: bytes) -> Decimal:
        unscaled = int.from_bytes(stored, "big", signed=True)
        if abs(unscaled) >= 10**self.precision:
            raise ValueError(f"{unscaled} has more than {self.precision} digits")
        return Decimal(unscaled).scaleb(-self.scale, Context(prec=_DIGITS))


_NESTED = Kind(pl.Binary(), "nested")


@dataclass(frozen=True, slots=True)
class Column:
    """One field of the rows.

    Parameters
    ----------
    name
        Its name in the file.
    kinds
        What its values may be beside null: several in a union of several types, none where it is always null.
    """

    name: str
    kinds: tuple[Kind, ...]

    def branch(self, stored: Any) -> tuple[int, Any]:
        """Return which kind a stored value is of, and the value itself; null is of the first."""
        if len(self.kinds) < 2 or stored is None:
            return 0, stored
        ((branch, value),) = stored.items()
        return int(branch[1:]), value


@dataclass(frozen=True, slots=True)
class RowSchema:
    """What a file says about its rows.

    Parameters
    ----------
    columns
        The fields in order.
    stored
        The schema that rows are decoded with. A row is a dict with the keys `c0`, `c1`, ..., one for each column.
    """

    columns: tuple[Column, ...]
    stored: Any


def row_schema(written: object) -> RowSchema:
    """Return what the schema of a file says about its rows.

    Parameters
    ----------
    written
        The schema as its JSON says it.

    Raises
    ------
    ValueError
        When rows are not records, or a type is used that the schema does not define or that holds itself.
    """
    if not isinstance(written, Mapping) or written.get("type") not in ("record", "error"):
        raise ValueError("its rows are not records: write one record a row")
    types = _Types()
    namespace = types.open(written, "")
    columns, fields = [], []
    for i, field in enumerate(_fields(written)):
        kinds, stored = _column(types, field.get("type"), namespace, f"c{i}")
        columns.append(Column(str(field.get("name")), kinds))
        fields.append({"name": f"c{i}", "type": stored})
    names = [c.name for c in columns]
    if len(set(names)) < len(names) or not {ROW, LINE}.isdisjoint(names):
        raise ValueError(f"its columns cannot be told apart: {names}")
    if not any(c.kinds for c in columns):
        raise ValueError("no column of its rows can hold a value: there is nothing to read")
    row = fastavro.parse_schema({"type": "record", "name": "row", "fields": fields})
    return RowSchema(tuple(columns), row)


class _Types:
    """The types of one schema. Those with a name get another, `n0`, `n1`, ..., so that namespaces play no part."""

    def __init__(self) -> None:
        self._renamed: dict[str, str] = {}
        self._kinds: dict[str, Kind] = {}
        self._open: set[str] = set()
        self._count = 0

    def open(self, record: Mapping[str, Any], namespace: str) -> str:
        """Return the namespace inside a record, whose name means, until it is closed, that it holds itself."""
        full, inner = _full_name(record, namespace)
        self._open.add(full)
        return inner

    def read(self, schema: object, namespace: str) -> tuple[Any, Kind | None]:
        """Return a type as its values are stored, and what they become; nothing for null."""
        if schema == "null":
            return schema, None
        if isinstance(schema, list):
            return [self.read(s, namespace)[0] for s in schema], _NESTED
        if isinstance(schema, str):
            return (schema, Kind(_PLAIN[schema])) if schema in _PRIMITIVE else self._known(schema, namespace)
        if not isinstance(schema, Mapping):
            raise ValueError(f"its schema has {schema!r} in the place of a type")
        type_ = schema.get("type")
        if isinstance(type_, str) and type_ in _NAMED:
            return self._defined(schema, type_, namespace)
        if isinstance(type_, str) and type_ in _PRIMITIVE:
            return type_, _kind(schema, type_)
        if type_ in ("array", "map"):
            part = "items" if type_ == "array" else "values"
            return {"type": type_, part: self.read(schema.get(part), namespace)[0]}, _NESTED
        return self.read(type_, namespace)

    def _defined(self, schema: Mapping[str, Any], type_: str, namespace: str) -> tuple[Any, Kind]:
        full, inner = _full_name(schema, namespace)
        name, self._count = f"n{self._count}", self._count + 1
        stored: dict[str, Any] = {"type": type_, "name": name}
        match type_:
            case "enum":
                stored["symbols"], kind = _symbols(schema), Kind(_PLAIN[type_])
            case "fixed":
                stored["size"], kind = _size(schema), _kind(schema, type_)
            case _:
                self._open.add(full)
                fields = _fields(schema)
                stored["fields"] = [
                    {"name": str(f.get("name")), "type": self.read(f.get("type"), inner)[0]} for f in fields
                ]
                self._open.discard(full)
                kind = _NESTED
        self._renamed[full], self._kinds[full] = name, kind
        return stored, kind

    def _known(self, name: str, namespace: str) -> tuple[str, Kind]:
        full = f"{namespace}.{name}" if namespace and "." not in name else name
        if full in self._open:
            raise ValueError(f"its type `{full}` holds itself, which no table can: write it without that field")
        if full not in self._renamed:
            raise ValueError(f"its schema uses the type `{full}`, which it does not define")
        return self._renamed[full], self._kinds[full]


def _full_name(schema: Mapping[str, Any], namespace: str) -> tuple[str, str]:
    """Return the full name of a type, and the namespace inside it."""
    name, inside = str(schema.get("name")), str(schema.get("namespace", namespace))
    full = name if "." in name or not inside else f"{inside}.{name}"
    return full, full.rpartition(".")[0]


def _fields(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    fields = record.get("fields")
    if not isinstance(fields, list) or not all(isinstance(f, Mapping) for f in fields):
        raise ValueError(f"its schema does not list the fields of the record `{record.get('name')}`")
    return fields


def _symbols(enum: Mapping[str, Any]) -> list[str]:
    symbols = enum.get("symbols")
    if not isinstance(symbols, list) or not all(isinstance(s, str) for s in symbols):
        raise ValueError(f"its schema does not list the symbols of the enum `{enum.get('name')}`")
    return symbols


def _size(fixed: Mapping[str, Any]) -> int:
    size = fixed.get("size")
    if not isinstance(size, int) or size < 0:
        raise ValueError(f"its schema does not say the size of the fixed type `{fixed.get('name')}`")
    return size


def _column(types: _Types, schema: object, namespace: str, key: str) -> tuple[tuple[Kind, ...], Any]:
    """Return what a field's values may be, and the type they are decoded with."""
    if not isinstance(schema, list):
        stored, kind = types.read(schema, namespace)
        return (() if kind is None else (kind,)), stored
    read = [types.read(s, namespace) for s in schema]
    kinds = tuple(kind for _, kind in read if kind is not None)
    if len(kinds) < 2:
        return kinds, [stored for stored, _ in read]
    branches: list[Any] = []
    for stored, kind in read:
        # A record is its fields one after the other, so that one around a branch changes no byte and names it.
        name = f"b{sum(isinstance(b, dict) for b in branches)}"
        around = {"type": "record", "name": f"{key}{name}", "fields": [{"name": name, "type": stored}]}
        branches.append(stored if kind is None else around)
    return kinds, branches


def _kind(schema: Mapping[str, Any], type_: str) -> Kind:
    """Return the kind of a type that may be logical; one that is not as Avro defines it is ignored, as Avro says."""
    logical = str(schema.get("logicalType"))
    if (type_, logical) in _TIMES:
        return Kind(_TIMES[type_, logical], "ticks")
    if (type_, logical) in _OF_DAY:
        return Kind(pl.Time(), "of_day", _OF_DAY[type_, logical])
    if logical == "decimal" and type_ in ("bytes", "fixed"):
        precision, scale = schema.get("precision"), schema.get("scale", 0)
        if isinstance(precision, int) and isinstance(scale, int) and 0 <= scale <= precision <= _DIGITS and precision:
            return Kind(pl.Decimal(_DIGITS, scale), "decimal", scale, precision)
    if logical == "uuid" and type_ == "fixed" and schema.get("size") == 16:
        return Kind(pl.String(), "uuid")
    return Kind(_PLAIN[type_])
