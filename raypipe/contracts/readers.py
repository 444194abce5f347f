"""Who can read what: whether a reader on one contract reads data that was written under another, aspect by aspect.

A contract has no wire format of its own. Each set of rules reads it as a schema of one:

- **lake**: the columns of a table of the lake, and every rule on a row. What was written is what was accepted, and a
  reader that would refuse some of it cannot read it. A table takes no other columns (`LakeTable.refuse_other_columns`).
- **avro**: a record. Optional columns are unions with null that default to null, required ones have no default, a
  string whose valid values are all Avro names is an enum without a default, times have logical types.
- **protobuf**: a message in which every column has presence, dates and timestamps are the well-known messages. A
  contract has no field numbers: a name is taken to keep one number for ever, and the number of a removed column to be
  reserved, so that columns are matched by name as they are everywhere else.
- **json-schema**: an object whose optional columns may be null or absent, and in which other properties are allowed.
  A writer writes the properties of its contract and no others. Times are strings with the pattern of their text form.

Each aspect is judged alone, which is safe and not clever: two rules that together say what one said before count as a
change. Two patterns are never compared, only whether they are the same text. Knows two values of an aspect; does not
know which of the contracts is the newer.

References
----------
Apache Avro 1.12 specification, "Schema Resolution".
Protocol Buffers language guide (proto 3), "Updating A Message Type".
JSON Schema Validation 2020-12, sections 6.1 to 6.5: an instance is valid when every keyword's assertion holds.
"""

from __future__ import annotations

import re
from enum import StrEnum

import pyarrow as pa

from raypipe.contracts.contract import TIMESTAMP, Bound, Contract, Field
from raypipe.contracts.times import ISO_DATE, ISO_TIMESTAMP


class Rules(StrEnum):
    """A set of rules by which a reader reads."""

    LAKE = "lake"
    AVRO = "avro"
    PROTOBUF = "protobuf"
    JSON_SCHEMA = "json-schema"


EVERY = frozenset(Rules)
"""Readers of every kind."""

_VALUES = frozenset({Rules.LAKE, Rules.JSON_SCHEMA})
"""Those that look at values; Avro and Protobuf know types alone."""

_INTEGER, _NUMBER, _BOOLEAN, _DATE = pa.int64(), pa.float64(), pa.bool_(), pa.date32()
_TIMES = (_DATE, TIMESTAMP)

_OTHER_TYPES: dict[tuple[pa.DataType, pa.DataType], frozenset[Rules]] = {
    # Avro promotes int to long, float and double, long to float and double, float to double, and string to bytes and
    # back; of these a contract has the types of one. JSON's integers are the numbers without a fraction.
    (_INTEGER, _NUMBER): frozenset({Rules.AVRO, Rules.JSON_SCHEMA}),
    # On Protobuf's wire integers and booleans are the same varint, so that 2 is read as true.
    (_INTEGER, _BOOLEAN): frozenset({Rules.PROTOBUF}),
    (_BOOLEAN, _INTEGER): frozenset({Rules.PROTOBUF}),
    (_DATE, pa.string()): frozenset({Rules.JSON_SCHEMA}),
    (TIMESTAMP, pa.string()): frozenset({Rules.JSON_SCHEMA}),
}
"""(written, read) -> the readers that read it.

An Avro reader would also take the integer beneath a logical type for a number or another time, and a Protobuf parser
the fields of a date for those of a timestamp. What comes out is not what was written: that does not count as reading.
"""

_AVRO_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")


def reads_column(writer: Field | None, reader: Field | None) -> frozenset[Rules]:
    """Return who reads the rows when one side alone has a column.

    Avro ignores a field that the reader does not have, and gives one that the writer did not have its default or an
    error. Protobuf skips unknown fields and leaves missing ones unset. JSON Schema's `required` asks for presence.
    """
    if (writer is None) == (reader is None):
        return EVERY
    others = EVERY - {Rules.LAKE}
    return others - {Rules.AVRO, Rules.JSON_SCHEMA} if reader is not None and reader.required else others


def reads_type(writer: Field, reader: Field) -> frozenset[Rules]:
    """Return who reads the writer's type as the reader's."""
    return EVERY if writer.type == reader.type else _OTHER_TYPES.get((writer.type, reader.type), frozenset())


def reads_required(writer: Field, reader: Field) -> frozenset[Rules]:
    """Return who reads what may be null; Avro has no reader for the null of a union that the reader does not have."""
    return EVERY - {*_VALUES, Rules.AVRO} if reader.required and not writer.required else EVERY


def reads_minimum(writer: Field, reader: Field) -> frozenset[Rules]:
    """Return who reads values above the writer's minimum; JSON Schema has limits for numbers only."""
    was, now = _least(writer.minimum, writer.type, 1), _least(reader.minimum, reader.type, 1)
    kept = now is None or (was is not None and _comparable(writer, reader) and now <= was)
    return EVERY if kept else _without_range(reader)


def reads_maximum(writer: Field, reader: Field) -> frozenset[Rules]:
    """Return who reads values below the writer's maximum."""
    was, now = _least(writer.maximum, writer.type, -1), _least(reader.maximum, reader.type, -1)
    # Of two ends at the same value the one that leaves it out is the tighter, so only the values are turned round.
    kept = now is None or (was is not None and _comparable(writer, reader) and (was[0], now[1]) <= (now[0], was[1]))
    return EVERY if kept else _without_range(reader)


def _least(bound: Bound | None, dtype: pa.DataType, step: int) -> tuple[object, bool] | None:
    """Return the bound as (value, exclusive); an integer above 0 is one from 1."""
    if bound is None:
        return None
    if bound.exclusive and dtype == _INTEGER and isinstance(bound.value, int):
        return bound.value + step, False
    return bound.value, bound.exclusive


def _comparable(writer: Field, reader: Field) -> bool:
    numbers = (_INTEGER, _NUMBER)
    return writer.type == reader.type or (writer.type in numbers and reader.type in numbers)


def _without_range(reader: Field) -> frozenset[Rules]:
    return EVERY - ({Rules.LAKE} if reader.type in _TIMES else _VALUES)


def reads_multiple(writer: Field, reader: Field) -> frozenset[Rules]:
    """Return who reads the writer's multiples; two steps are compared where both are whole."""
    was, now = writer.multiple_of, reader.multiple_of
    kept = now is None or was == now or (isinstance(was, int) and isinstance(now, int) and was % now == 0)
    return EVERY if kept else EVERY - _VALUES


def reads_min_length(writer: Field, reader: Field) -> frozenset[Rules]:
    """Return who reads text of the writer's least length."""
    return EVERY if (reader.min_length or 0) <= (writer.min_length or 0) else EVERY - _VALUES


def reads_max_length(writer: Field, reader: Field) -> frozenset[Rules]:
    """Return who reads text of the writer's greatest length."""
    now, was = reader.max_length, writer.max_length
    return EVERY if now is None or (was is not None and was <= now) else EVERY - _VALUES


def reads_pattern(writer: Field, reader: Field) -> frozenset[Rules]:
    """Return who reads text that the writer's pattern let pass."""
    return EVERY if reader.pattern in (None, writer.pattern) else EVERY - _VALUES


def reads_valid_values(writer: Field, reader: Field) -> frozenset[Rules]:
    """Return who reads each of the writer's values.

    Avro signals an error for a symbol that the reader's enum does not have, and between an enum and a string there is
    no promotion.
    """
    now, was = reader.valid_values, writer.valid_values
    kept = now is None or (was is not None and set(was) <= set(now))
    written, known = symbols(writer), symbols(reader)
    if (written is None) == (known is None):
        avro = written is None or known is None or set(written) <= set(known)
    else:
        # A column that was not text before has changed its type, and `reads_type` says so.
        avro = writer.type != reader.type
    return EVERY - (frozenset() if kept else _VALUES) - (frozenset() if avro else {Rules.AVRO})


def reads_missing_values(writer: Field, reader: Field) -> frozenset[Rules]:
    """Return who reads each of the values that do not stand for none at the writer."""
    kept = set(reader.missing_values or ()) <= set(writer.missing_values or ())
    return EVERY if kept else EVERY - _VALUES


def expressions(contract: Contract) -> frozenset[tuple[str, str, bool]]:
    """Return the SQL rules that refuse rows."""
    return frozenset((e.name, e.sql, e.must) for e in contract.expressions if e.severity == "error")


def reads_expressions(writer: Contract, reader: Contract) -> frozenset[Rules]:
    """Return who reads rows that keep the writer's SQL; two expressions are never compared, and no schema has any."""
    return EVERY if expressions(reader) <= expressions(writer) else EVERY - {Rules.LAKE}


def symbols(field: Field) -> tuple[str, ...] | None:
    """Return the symbols of the Avro enum that the field is, each once and in order, none where it is none."""
    values = tuple(dict.fromkeys(field.valid_values or ()))
    texts = tuple(v for v in values if isinstance(v, str) and _AVRO_NAME.fullmatch(v))
    return texts if texts and len(texts) == len(values) else None


def reads_text(writer: Field, reader: Field) -> frozenset[Rules]:
    """Return who reads times as the writer writes them; Avro and Protobuf write numbers, not text."""
    if writer.type != reader.type or _directives(writer) == _directives(reader):
        return EVERY
    return EVERY - _VALUES


def _directives(field: Field) -> str | None:
    if field.text is not None:
        return field.text.directives
    return {_DATE: ISO_DATE.directives, TIMESTAMP: ISO_TIMESTAMP.directives}.get(field.type)
