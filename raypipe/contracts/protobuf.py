"""Protobuf messages as rows, by a descriptor that was compiled before.

A field without presence has its default where it was not written, as Protobuf has it; one with presence is null.
Nested messages, repeated fields and maps are nested, which no contract has a type for. Does not know files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from raypipe.contracts.rows import LINE, ROW, RawPart

_DTYPES: dict[int, pl.DataType] = {
    FieldDescriptor.CPPTYPE_INT32: pl.Int32(),
    FieldDescriptor.CPPTYPE_INT64: pl.Int64(),
    FieldDescriptor.CPPTYPE_UINT32: pl.UInt32(),
    FieldDescriptor.CPPTYPE_UINT64: pl.UInt64(),
    FieldDescriptor.CPPTYPE_FLOAT: pl.Float32(),
    FieldDescriptor.CPPTYPE_DOUBLE: pl.Float64(),
    FieldDescriptor.CPPTYPE_BOOL: pl.Boolean(),
    FieldDescriptor.CPPTYPE_ENUM: pl.String(),
}
_WRAPPED = "google.protobuf.{}Value"
_WRAPPERS = {_WRAPPED.format(n) for n in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String")}
_TIMESTAMP = "google.protobuf.Timestamp"
_DATE = "google.type.Date"
_SECONDS = (-62_135_596_800, 253_402_300_799)  # the years 1 to 9999

_Value = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    dtype: pl.DataType
    value: _Value


class ProtobufRows:
    """Messages that are one Protobuf message each.

    Parameters
    ----------
    descriptors
        A `FileDescriptorSet` as `protoc --include_imports --descriptor_set_out` writes it.
    message
        Full name of the message.

    Raises
    ------
    ValueError
        When they are no descriptors, the message is not among them, or no table can have its fields.
    """

    def __init__(self, descriptors: bytes, message: str) -> None:
        pool = DescriptorPool()
        names: list[str] = []
        try:
            for file in FileDescriptorSet.FromString(descriptors).file:
                pool.Add(file)
                names += [f"{file.package}.{m.name}".lstrip(".") for m in file.message_type]
            found = pool.FindMessageTypeByName(message)
        except KeyError as error:
            raise ValueError(f"it has no message `{message}`: it has {', '.join(names) or 'none'}") from error
        except (DecodeError, TypeError) as error:
            raise ValueError(f"it is no compiled descriptor set: {error}") from error
        if not found.fields or not {ROW, LINE}.isdisjoint(f.name for f in found.fields):
            raise ValueError(f"the message `{message}` has no field that can be a column")
        self._class: Any = GetMessageClass(found)
        self._columns = [_column(f) for f in found.fields]

    def parts(self, bodies: Mapping[int, bytes], refuse: Callable[[int, str], None]) -> tuple[RawPart, ...]:
        """Return the messages as rows; `refuse` is told the row and the reason of each that cannot be one."""
        rows: list[int] = []
        values: list[list[Any]] = []
        for row, body in bodies.items():
            try:
                read = self._class.FromString(body)
                found = [c.value(read) for c in self._columns]
            except DecodeError:
                refuse(row, "malformed(protobuf)")
            except ValueError:
                refuse(row, "malformed(value)")
            else:
                rows.append(row)
                values.append(found)
        columns = list(zip(*values, strict=True)) if values else [()] * len(self._columns)
        series = [pl.Series(ROW, np.array(rows, np.int64))]
        series += [_series(c, found) for c, found in zip(self._columns, columns, strict=True)]
        return (RawPart(pl.DataFrame(series)),)


def _series(column: _Column, values: Sequence[Any]) -> pl.Series:
    if isinstance(column.dtype, pl.Datetime):
        return pl.Series(column.name, values, dtype=pl.Int64).cast(column.dtype)
    return pl.Series(column.name, values, dtype=column.dtype)


def _column(field: Any) -> _Column:
    """Return how the values of a field become a column."""
    name = field.name
    if field.is_repeated:
        return _Column(name, pl.Binary(), lambda m: b"" if getattr(m, name) else None)
    if field.message_type is None:
        dtype, read = _scalar(field)
        if not field.has_presence:
            return _Column(name, dtype, lambda m: read(getattr(m, name)))
        return _Column(name, dtype, lambda m: read(getattr(m, name)) if m.HasField(name) else None)
    kind: Descriptor = field.message_type
    if kind.full_name == _TIMESTAMP:
        return _Column(name, pl.Datetime("us", "UTC"), lambda m: _ticks(getattr(m, name)) if m.HasField(name) else None)
    if kind.full_name == _DATE:
        return _Column(name, pl.Date(), lambda m: _day(getattr(m, name)) if m.HasField(name) else None)
    if kind.full_name in _WRAPPERS:
        dtype, read = _scalar(kind.fields_by_name["value"])
        return _Column(name, dtype, lambda m: read(getattr(m, name).value) if m.HasField(name) else None)
    return _Column(name, pl.Binary(), lambda m: b"" if m.HasField(name) else None)


def _scalar(field: Any) -> tuple[pl.DataType, _Value]:
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        dtype: pl.DataType = pl.Binary() if field.type == FieldDescriptor.TYPE_BYTES else pl.String()
        return dtype, lambda v: v
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        # A number that the enum does not name stays a number, as text: the contract judges it.
        named = {n: v.name for n, v in field.enum_type.values_by_number.items()}
        return pl.String(), lambda v: named.get(v, str(v))
    return _DTYPES[field.cpp_type], lambda v: v


def _day(found: Any) -> date:
    """Return the date; raises `ValueError` where it lacks a part, which `google.type.Date` allows."""
    return date(found.year, found.month, found.day)


def _ticks(time: Any) -> int:
    """Return microseconds since 1970; raises `ValueError` where they would be rounded or have no year."""
    if time.nanos % 1000 or not 0 <= time.nanos < 1_000_000_000 or not _SECONDS[0] <= time.seconds <= _SECONDS[1]:
        raise ValueError(f"{time.seconds} s and {time.nanos} ns are no microseconds of the years 1 to 9999")
    return int(time.seconds) * 1_000_000 + int(time.nanos) // 1000
