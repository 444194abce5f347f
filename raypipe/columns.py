"""What a column of a model's input is called and holds. Knows Arrow types; knows nothing of tables or models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

ColumnType = Literal["string", "int64", "float64", "bool", "timestamp"]

_ARROW: dict[ColumnType, pa.DataType] = {
    "string": pa.string(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us", "UTC"),
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a model's input, in the order in which the model takes it.

    Parameters
    ----------
    name
        Name in the table.
    type
        `timestamp` has microseconds and is UTC; every type may hold nulls.
    """

    name: str
    type: ColumnType

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type of this column."""
        return _ARROW[self.type]


def column_type(arrow: pa.DataType) -> ColumnType:
    """Return the type of column that holds every value of an Arrow type.

    Raises
    ------
    TypeError
        When there is none, such as for lists.

    Examples
    --------
    >>> column_type(pa.int32())
    'int64'
    """
    if pa.types.is_dictionary(arrow):
        return column_type(arrow.value_type)
    if pa.types.is_string(arrow) or pa.types.is_large_string(arrow) or pa.types.is_string_view(arrow):
        return "string"
    if pa.types.is_boolean(arrow):
        return "bool"
    if pa.types.is_integer(arrow):
        return "int64"
    if pa.types.is_floating(arrow) or pa.types.is_decimal(arrow):
        return "float64"
    if pa.types.is_timestamp(arrow) or pa.types.is_date(arrow):
        return "timestamp"
    raise TypeError(f"a column of Arrow type {arrow} is none of {', '.join(_ARROW)}: convert it, or leave it out")
