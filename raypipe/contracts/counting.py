"""What is counted of rows for the table rules: values that add up, so that it does not matter how rows are split.

Knows columns and measures. Does not know limits, files, or where the other parts are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import reduce

import polars as pl

from raypipe.contracts.table_rules import (
    Age,
    DuplicateValues,
    InvalidValues,
    Measure,
    MissingKeys,
    MissingValues,
    NullValues,
    Query,
    RowCount,
    TableRule,
)

Part = int | float | datetime | None
"""What one part of the rows adds: a number, or its newest time; none where it has none."""
Counts = Mapping[str, Part]
"""The parts by the names of the rules."""


def count(rows: pl.DataFrame, rules: Sequence[TableRule]) -> dict[str, Part]:
    """Return what the rows add to the rules that look at one column.

    Parameters
    ----------
    rows
        Some accepted rows, with the columns that `columns_of` names.
    rules
        Those of other measures are left out.
    """
    wanted = {r.name: e for r in rules if (e := _expression(r.measure)) is not None}
    found = rows.select([e.alias(name) for name, e in wanted.items()]).row(0, named=True) if wanted else {}
    return {name: _part(value) for name, value in found.items()}


def columns_of(rules: Iterable[TableRule]) -> list[str]:
    """Return the columns that the rules which `count` counts look at."""
    columns = [
        r.measure.column for r in rules if isinstance(r.measure, NullValues | MissingValues | InvalidValues | Age)
    ]
    return list(dict.fromkeys(columns))


def _expression(measure: Measure) -> pl.Expr | None:
    match measure:
        case NullValues(column):
            return pl.col(column).is_null().sum()
        case MissingValues(column, values, null):
            listed = pl.col(column).is_in(list(values)).fill_null(False)
            return (listed | pl.col(column).is_null() if null else listed).sum()
        case InvalidValues(column, valid_values, pattern):
            valid = pl.lit(True)
            if valid_values is not None:
                valid &= pl.col(column).is_in(list(valid_values))
            if pattern is not None:
                valid &= pl.col(column).str.contains(pattern)
            return (~valid).fill_null(False).sum()
        case Age(column):
            return pl.col(column).max()
        case RowCount() | DuplicateValues() | MissingKeys() | Query():
            return None


def _part(value: object) -> Part:
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    assert value is None or isinstance(value, int | float | datetime)
    return value


def merge(one: Counts, other: Counts) -> dict[str, Part]:
    """Return what both add: sums of numbers, the newer of two times. Associative; without names it changes nothing."""
    return {name: _merged(one.get(name), other.get(name)) for name in dict.fromkeys((*one, *other))}


def _merged(one: Part, other: Part) -> Part:
    if one is None or other is None:
        return other if one is None else one
    if isinstance(one, datetime) and isinstance(other, datetime):
        return max(one, other)
    assert not isinstance(one, datetime)
    assert not isinstance(other, datetime)
    return one + other


def numbers(parts: Iterable[Counts], rules: Sequence[TableRule], now: datetime) -> dict[str, float | None]:
    """Return the number of each rule, by name; none where no row gave one.

    Parameters
    ----------
    parts
        Of all rows of a generation, in any order.
    rules
        Of its contract.
    now
        When it is ingested, aware.
    """
    whole: Counts = reduce(merge, parts, {})
    found: dict[str, float | None] = {}
    for rule in rules:
        part = whole.get(rule.name)
        match rule.measure:
            case Age(unit=unit):
                found[rule.name] = (now - part) / unit if isinstance(part, datetime) else None
            case Query():
                found[rule.name] = None if part is None or isinstance(part, datetime) else part
            case _:
                # Of no rows at all nobody counted any.
                found[rule.name] = 0 if part is None or isinstance(part, datetime) else part
    return found


def repeats(keys: pl.DataFrame, known: pl.DataFrame) -> int:
    """Return how many rows would have to go for the others to differ, from each other and from those of `known`.

    A null differs from everything.

    Examples
    --------
    >>> repeats(pl.DataFrame({"a": [1, 1, 1, 2, 3, None, None]}), pl.DataFrame({"a": [3, 4]}))
    3
    """
    whole = keys.drop_nulls()
    new = whole.unique()
    if known.height and new.height:
        new = new.join(known, on=keys.columns, how="anti")
    return whole.height - new.height


def missing(keys: pl.DataFrame, known: pl.DataFrame) -> int:
    """Return how many rows are no row of `known`, column by column; a row with a null is none that is missing.

    Examples
    --------
    >>> missing(pl.DataFrame({"a": [1, 2, 2, None]}), pl.DataFrame({"b": [1, 3]}))
    2
    """
    whole = keys.drop_nulls()
    if not known.height or not whole.height:
        return whole.height
    return whole.join(known, left_on=keys.columns, right_on=known.columns, how="anti").height
