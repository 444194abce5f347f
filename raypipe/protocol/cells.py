"""Cells of a request become typed Arrow columns, losslessly or not at all.

Knows the column types of a model's inputs. Does not know which protocol the cells came in.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches
from types import NoneType
from typing import Any

import pyarrow as pa

from raypipe.columns import Column
from raypipe.errors import BadRequest

Cells = Sequence[object]

_ACCEPTED: Mapping[str, tuple[frozenset[type], str]] = {
    "string": (frozenset({str}), "a string"),
    "int64": (frozenset({int, float}), "a whole number"),
    "float64": (frozenset({int, float}), "a number"),
    "bool": (frozenset({bool}), "true or false"),
    "timestamp": (frozenset({str}), "an ISO 8601 time with an offset, such as 2013-01-01T10:15:00Z"),
}
_TRUTH: Mapping[str, bool] = {"true": True, "1": True, "false": False, "0": False}


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """Return the Arrow schema of a model's inputs; timestamps are microseconds in UTC."""
    return pa.schema([pa.field(c.name, c.arrow) for c in columns])


def typed_table(
    given: Mapping[str, Cells],
    columns: tuple[Column, ...],
    schema: pa.Schema | None = None,
    where: str = "input",
    ignored: Collection[str] = (),
) -> pa.Table:
    """Return the table whose columns are exactly `columns`, in their order, from JSON cells.

    Parameters
    ----------
    given
        Cells by column name: str, int, float, bool or None (null), all of one length.
    columns
        The model's inputs. Every one must be given; a null is allowed in each, an absent column in none.
    schema
        `arrow_schema(columns)`, where the caller keeps it.
    where
        What the protocol calls a column, for messages.
    ignored
        Names that may be given though they are no inputs of this model; they are not looked at.

    Raises
    ------
    BadRequest
        When a column is missing or unknown, lengths differ, there are no rows, or a cell does not fit its type
        without loss. The message names the column and the row (from 0).
    """
    if ignored and len(given) != len(columns):
        names = {c.name for c in columns}
        given = {name: cells for name, cells in given.items() if name in names or name not in ignored}
    if len(given) != len(columns) or any(c.name not in given for c in columns):
        _refuse_names(given, columns, where)
    rows = len(given[columns[0].name]) if columns else 0
    if rows == 0:
        raise BadRequest(f"the request has no rows: send at least one value in each {where}")
    for column in columns:
        if len(given[column.name]) != rows:
            raise BadRequest(
                f"{where} `{column.name}` has {len(given[column.name])} rows, `{columns[0].name}` has {rows}: "
                "send as many values in each"
            )
    arrays = [_typed_array(given[c.name], c, where) for c in columns]
    return pa.Table.from_arrays(arrays, schema=schema or arrow_schema(columns))


def cells_from_text(texts: Sequence[str], column: Column) -> Cells:
    """Return the JSON cells that CSV fields stand for; an empty field is null.

    Raises
    ------
    BadRequest
        When a field is not of the column's type.
    """
    read: Callable[[str], object]
    match column.type:
        case "string" | "timestamp":
            return [text or None for text in texts]
        case "int64":
            read = _whole
        case "float64":
            read = _number
        case "bool":
            read = _truth
    cells: list[object] = []
    for row, text in enumerate(texts):
        try:
            cells.append(read(text) if text else None)
        except ValueError as error:
            raise _misfit(column, row, text, "column") from error
    return cells


def shown(value: object) -> str:
    """Return a JSON value as a message can show it: short, and whatever its depth."""
    match value:
        case dict():
            return "an object"
        case list() if len(value) > 4 or any(isinstance(v, (list, dict)) for v in value):
            return f"a list of {len(value)}"
        case _:
            text = json.dumps(value)
            return text if len(text) <= 60 else text[:57] + "..."


def _number(text: str) -> float | None:
    number = float(text)
    if math.isinf(number):
        raise ValueError(text)
    return None if math.isnan(number) else number


def _whole(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _truth(text: str) -> bool:
    try:
        return _TRUTH[text.lower()]
    except KeyError as error:
        raise ValueError(text) from error


def _typed_array(cells: Cells, column: Column, where: str) -> pa.Array[Any]:
    accepted, _ = _ACCEPTED[column.type]
    kinds = set(map(type, cells)) - {NoneType}
    if not kinds <= accepted:
        row = next(i for i, cell in enumerate(cells) if cell is not None and type(cell) not in accepted)
        raise _misfit(column, row, cells[row], where)
    values: Cells = cells
    try:
        if column.type == "timestamp":
            values = _moments(cells, column, where)
        elif column.type == "int64" and float in kinds:
            values = _whole_numbers(cells, column, where)
        elif column.type == "float64" and int in kinds:
            values = [float(cell) if isinstance(cell, int) else cell for cell in cells]
        return pa.array(values, type=column.arrow)
    except (OverflowError, UnicodeEncodeError) as error:
        raise BadRequest(f"{where} `{column.name}` holds a value that {column.type} cannot hold: {error}") from error


def _whole_numbers(cells: Cells, column: Column, where: str) -> Cells:
    # Arrow would truncate 1.5 to 1; a data frame turns integers with nulls into floats, so 1.0 is welcome.
    for row, cell in enumerate(cells):
        if isinstance(cell, float) and not cell.is_integer():
            raise _misfit(column, row, cell, where)
    return [int(cell) if isinstance(cell, float) else cell for cell in cells]


def _moments(cells: Cells, column: Column, where: str) -> Cells:
    moments: list[datetime | None] = []
    for row, cell in enumerate(cells):
        if cell is None:
            moments.append(None)
            continue
        try:
            moment = datetime.fromisoformat(str(cell))
            # Without an offset the same text is another moment on another clock: guessing would be silent skew.
            offset = moment.utcoffset()
        except ValueError as error:
            raise _misfit(column, row, cell, where) from error
        if offset is None:
            raise _misfit(column, row, cell, where)
        moments.append(moment)
    return moments


def _misfit(column: Column, row: int, cell: object, where: str) -> BadRequest:
    return BadRequest(
        f"{where} `{column.name}` row {row} is {shown(cell)}: it must be {_ACCEPTED[column.type][1]}, or null",
        column=column.name,
        row=row,
    )


def _refuse_names(given: Mapping[str, Cells], columns: tuple[Column, ...], where: str) -> None:
    known = [c.name for c in columns]
    for name in given:
        if name not in known:
            short = name[:100]
            near = get_close_matches(short, known, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"the model takes {', '.join(known)}"
            raise BadRequest(f"{where} `{short}` is not one of the model's: {hint}", column=short)
    missing = [name for name in known if name not in given]
    raise BadRequest(
        f"{where} `{missing[0]}` is missing ({len(missing)} of {len(known)} are): send each of the model's "
        f"inputs, with null where a value is not known",
        column=missing[0],
    )
