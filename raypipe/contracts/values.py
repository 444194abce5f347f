"""The values and the pattern that a rule lists, checked against the type of their column.

Knows logical types. Does not know rules.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import polars as pl

from raypipe.contracts.document import Place


def checked_values(values: Sequence[object], logical: str, place: Place) -> tuple[str | int, ...]:
    """Return the values, each of which a column of that type may have.

    Raises
    ------
    ContractError
        When there is none, or a value has another type; only strings and integers are compared.
    """
    if logical not in ("string", "integer"):
        raise place.error(f"valid values of a {logical} cannot be executed: raypipe compares strings and integers")
    checked: list[str | int] = []
    for value in values:
        if isinstance(value, bool) or not isinstance(value, str if logical == "string" else int):
            raise place.error(
                f"the valid value {value!r} is not a {logical}: in YAML, text such as NO or 12 needs quotes"
            )
        checked.append(value)
    if not checked:
        raise place.error("the list of valid values is empty: no row could be valid")
    return tuple(checked)


def checked_missing(values: Sequence[object], logical: str, place: Place) -> tuple[str | int | float, ...]:
    """Return the values that stand for none; a number may be one of them too, such as -999.

    Raises
    ------
    ContractError
        When a value has another type than the column, which then can never have it.
    """
    if logical != "number":
        return checked_values(values, logical, place) if values else ()
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise place.error(f"the missing value {value!r} is not a number, and no value of the column could be it")
    return tuple(float(value) for value in values if isinstance(value, int | float))


def checked_pattern(pattern: str, logical: str, place: Place) -> str:
    """Return the pattern, which the engine can execute.

    Raises
    ------
    ContractError
        When it cannot, or the column is no text.
    """
    if logical != "string":
        raise place.error(f"the pattern {pattern!r} is on a {logical}: patterns are for strings")
    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.ComputeError as error:
        reason = str(error).split("\n\n", maxsplit=1)[0]
        raise place.at("pattern").error(f"the pattern {pattern!r} cannot be executed: {reason}") from error
    return pattern
