"""What a source promises, as frozen values that a worker can execute.

Knows columns, their types and the rules on one row. Does not know the file it was written in, or any row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime

import pyarrow as pa

from raypipe.contracts.retention import Retention
from raypipe.contracts.table_rules import Severity, TableRule

TIMESTAMP = pa.timestamp("us", "UTC")
"""The one type of a time in the lake."""

RESERVED = ("event_id", "event_at", "known_at", "source_position", "contract_version", "generation", "event_date")
"""Columns that raypipe adds to every row of the lake."""


@dataclass(frozen=True, slots=True)
class Bound:
    """One end of a range; the value itself is allowed unless `exclusive`."""

    value: int | float | datetime | date
    exclusive: bool = False


@dataclass(frozen=True, slots=True)
class TimeText:
    """How a time is written as text.

    Parameters
    ----------
    pattern
        Regular expression that the whole text matches.
    directives
        The same as chrono directives, such as `%Y-%m-%dT%H:%M:%S%.f%#z`.
    zoned
        Whether the text names its zone; text without one is read as UTC.
    """

    pattern: str
    directives: str
    zoned: bool = True


@dataclass(frozen=True, slots=True)
class RowRules:
    """Rules on one value that an ODCS quality rule can state.

    Parameters
    ----------
    required
        Whether null breaks them.
    valid_values
        The only values allowed, none meaning all.
    pattern
        Regular expression that is found somewhere in the text.
    missing_values
        Values that stand for none, and break them.
    """

    required: bool = False
    valid_values: tuple[str | int, ...] | None = None
    pattern: str | None = None
    missing_values: tuple[str | int | float, ...] | None = None

    @property
    def rules(self) -> tuple[str, ...]:
        """Return the names of those that are stated, in the words of the findings."""
        stated = {
            "required": self.required,
            "pattern": self.pattern is not None,
            "valid_values": self.valid_values is not None,
            "missing_values": self.missing_values is not None,
        }
        return tuple(rule for rule, is_stated in stated.items() if is_stated)


@dataclass(frozen=True, slots=True)
class Expression:
    """A rule on one row that is written in SQL.

    Parameters
    ----------
    name
        In the words of the reasons, such as `sql(lands after it departs)`.
    sql
        An expression on the columns of the row.
    must
        What it must be; null breaks nothing.
    severity
        Whether a row that breaks it is refused, or accepted and counted.
    """

    name: str
    sql: str
    must: bool
    severity: Severity


@dataclass(frozen=True, slots=True)
class Field:
    """One promised column and its rules.

    Parameters
    ----------
    name
        Name of the column, at the source and in the lake.
    type
        One of string, int64, float64, bool, date32 and `TIMESTAMP`.
    required
        Whether null is refused.
    minimum, maximum
        The range of numbers and times.
    min_length, max_length
        Length of text in characters.
    pattern
        Regular expression (RE2 syntax: no look-around) that is found somewhere in the text; anchor it to match whole.
    valid_values
        The only values allowed, none meaning all.
    text
        How times are written when they arrive as text; none means ISO 8601 with a zone. When it names no zone, typed
        times without one are read as UTC too.
    classification
        As the contract states it; recorded for the reader of the lake, not a rule.
    warned
        Rules of severity `warning`: a row that breaks one is accepted and counted.
    missing_values
        Values that stand for none, and are refused.
    multiple_of
        What a number is a multiple of, up to the rounding of 64-bit floats.
    """

    name: str
    type: pa.DataType
    required: bool = False
    minimum: Bound | None = None
    maximum: Bound | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    valid_values: tuple[str | int, ...] | None = None
    text: TimeText | None = None
    classification: str | None = None
    warned: RowRules = RowRules()
    missing_values: tuple[str | int | float, ...] | None = None
    multiple_of: int | float | None = None

    @property
    def rules(self) -> tuple[str, ...]:
        """Return what can refuse a row besides its type, in the words of the reasons."""
        stated = {
            "required": self.required,
            "range": self.minimum is not None or self.maximum is not None,
            "multiple": self.multiple_of is not None,
            "length": self.min_length is not None or self.max_length is not None,
            "pattern": self.pattern is not None,
            "valid_values": self.valid_values is not None,
            "missing_values": self.missing_values is not None,
        }
        return tuple(rule for rule, is_stated in stated.items() if is_stated)


@dataclass(frozen=True, slots=True)
class Contract:
    """One source's promise.

    Parameters
    ----------
    name
        Name of the schema object, which is the source's.
    version
        The contract's own version; written beside every row accepted under it.
    fields
        The columns in the order of the lake's table.
    key
        Names of the fields that identify an event, in order; all are required.
    event_at
        The timestamp field that says when the event happened.
    known_at
        The timestamp field that says when it could be known; none means when its object arrived.
    expressions
        Rules on one row that are written in SQL.
    table_rules
        Rules on the accepted rows of a generation, all together.
    retention
        How long rows are kept; None for ever. It lets no row in and keeps none out, so the digest does not have it.
    """

    name: str
    version: str
    fields: tuple[Field, ...]
    key: tuple[str, ...]
    event_at: str
    known_at: str | None = None
    expressions: tuple[Expression, ...] = ()
    table_rules: tuple[TableRule, ...] = ()
    retention: Retention | None = None

    @property
    def schema(self) -> pa.Schema:
        """Return the Arrow schema that accepted rows have."""
        return pa.schema([pa.field(f.name, f.type) for f in self.fields])

    def field(self, name: str) -> Field:
        """Return the field of that name.

        Raises
        ------
        KeyError
            When the contract has no such field.
        """
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(name)

    @property
    def digest(self) -> str:
        """Return 64 hex characters that differ exactly when the meaning does; the version is not part of it."""
        meaning: dict[str, object] = {
            "name": self.name,
            "key": self.key,
            "event_at": self.event_at,
            "known_at": self.known_at,
            "fields": [_meaning(f) for f in self.fields],
        }
        # A rule this version of raypipe adds must not change the digest of a contract that does not use it.
        if self.expressions:
            meaning["expressions"] = sorted([e.name, e.sql, e.must, e.severity] for e in self.expressions)
        if self.table_rules:
            meaning["table_rules"] = _meaning_of_table_rules(self.table_rules)
        text = json.dumps(meaning, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def _meaning(field: Field) -> dict[str, object]:
    stated: dict[str, object] = {
        "type": str(field.type),
        "required": field.required,
        "minimum": _bound(field.minimum),
        "maximum": _bound(field.maximum),
        "min_length": field.min_length,
        "max_length": field.max_length,
        "pattern": field.pattern,
        "valid_values": _sorted(field.valid_values),
        "text": None if field.text is None else [field.text.pattern, field.text.directives, field.text.zoned],
        "warned": None if field.warned == RowRules() else _meaning_of_rules(field.warned),
        "missing_values": _sorted(field.missing_values),
        "multiple_of": None if field.multiple_of is None else float(field.multiple_of),
    }
    return {"name": field.name} | {k: v for k, v in stated.items() if v is not None}


def _meaning_of_rules(rules: RowRules) -> list[object]:
    missing = [] if rules.missing_values is None else [_sorted(rules.missing_values)]
    return [rules.required, _sorted(rules.valid_values), rules.pattern, *missing]


def _meaning_of_table_rules(rules: Sequence[TableRule]) -> list[str]:
    """Return each rule as text, in order; a limit of 1 is one of 1.0."""
    texts = {
        json.dumps(
            [type(r.measure).__name__, asdict(r.measure), r.must.operator, _floats(r.must.limits), r.unit, r.severity],
            sort_keys=True,
            default=str,
        )
        for r in rules
    }
    return sorted(texts)


def _floats(limits: Sequence[float]) -> list[float]:
    return [float(limit) for limit in limits]


def _sorted(values: Sequence[str | int | float] | None) -> list[str | int | float] | None:
    return None if values is None else sorted(values, key=repr)


def _bound(bound: Bound | None) -> list[object] | None:
    if bound is None:
        return None
    value = bound.value
    return [value.isoformat() if isinstance(value, date) else value, bound.exclusive]
