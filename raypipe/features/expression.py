"""Values of the tiny expressions, and the columns behind them. Knows tables; does not know entities or clocks."""

from __future__ import annotations

import difflib
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raypipe.errors import ConfigError
from raypipe.features.view import Expression

TIMESTAMP = pa.timestamp("us", "UTC")

_COMPARE = {
    ">": pc.greater,
    ">=": pc.greater_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    "==": pc.equal,
    "!=": pc.not_equal,
}


def column(table: pa.Table, name: str, *, of: str) -> pa.Array[Any]:
    """Return one column in one piece, dictionary-encoded and large strings as plain strings.

    Parameters
    ----------
    of
        Whose table it is, for the message: "the spine", "source `weather`".

    Raises
    ------
    ConfigError
        When there is no such column.
    """
    if name not in table.column_names:
        near = difflib.get_close_matches(name, table.column_names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(table.column_names)}"
        raise ConfigError(f"{of} has no column {name!r}: {hint}", key=name)
    chunks = table.column(name)
    values: Any = chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_large_string(values.type) or pa.types.is_string_view(values.type):
        values = values.cast(pa.string())
    plain: pa.Array[Any] = values
    return plain


def known(values: pa.Array[Any]) -> npt.NDArray[np.bool_]:
    """Return where there is a value, as a numpy mask."""
    mask: npt.NDArray[np.bool_] = values.is_valid().to_numpy(zero_copy_only=False)
    return mask


def numbers(values: pa.Array[Any], *, name: str) -> pa.Array[Any]:
    """Return the values as float64; what is not finite is not a measurement and becomes null.

    Integers beyond 2**53 lose their last digits, as in any float64.

    Raises
    ------
    ConfigError
        When the values are neither numbers nor booleans.
    """
    if not _is_number(values.type):
        raise ConfigError(
            f"{name} is of type {values.type}, and a number is needed: choose a numeric column, or turn it into one "
            "where the source is written",
            key=name,
        )
    floats = values.cast(pa.float64(), safe=False)
    finite: pa.Array[Any] = pc.if_else(pc.is_finite(floats), floats, pa.scalar(None, pa.float64()))
    return finite


def _is_number(kind: pa.DataType) -> bool:
    t = pa.types
    return bool(
        t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind) or t.is_boolean(kind) or t.is_null(kind)
    )


def evaluate(table: pa.Table, expression: Expression, *, of: str) -> pa.Array[Any]:
    """Return the expression's value for every row: float64, null where the column is null or not finite.

    Raises
    ------
    ConfigError
        When the table lacks the column, or the column is not numeric.

    Examples
    --------
    >>> from raypipe.features.view import parse_expression
    >>> rows = pa.table({"arr_delay": [20, 15, None]})
    >>> evaluate(rows, parse_expression("arr_delay > 15"), of="the example").to_pylist()
    [1.0, 0.0, None]
    """
    name = f"column {expression.column!r} of {of}"
    values = numbers(column(table, expression.column, of=of), name=name)
    if expression.operator is None:
        return values
    return _COMPARE[expression.operator](values, pa.scalar(expression.value, pa.float64())).cast(pa.float64())


def feature_values(values: pa.Array[Any], *, name: str) -> pa.Array[Any]:
    """Return a column as a feature: integers and decimals as float64, times in UTC microseconds, else as it is."""
    kind = values.type
    if pa.types.is_timestamp(kind):
        return values.cast(TIMESTAMP, safe=False)
    if _is_number(kind) and not pa.types.is_boolean(kind):
        return numbers(values, name=name)
    return values
