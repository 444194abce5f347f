"""Requests as a client would write them, from a table: for examples and replays. Pure."""

from __future__ import annotations

from typing import Any

import orjson
import pyarrow as pa

from raypipe.columns import Column


def records_request(table: pa.Table, columns: tuple[Column, ...]) -> bytes:
    """Return an MLflow scoring request with one record for each row.

    Examples
    --------
    >>> records_request(pa.table({"x": [1.5]}), (Column("x", "float64"),))
    b'{"dataframe_records":[{"x":1.5}]}'
    """
    values = {c.name: _plain(table, c) for c in columns}
    records = [{name: cells[row] for name, cells in values.items()} for row in range(table.num_rows)]
    return orjson.dumps({"dataframe_records": records})


def _plain(table: pa.Table, column: Column) -> list[Any]:
    values: list[Any] = table.column(column.name).to_pylist()
    if column.type == "timestamp":
        return [None if t is None else t.isoformat().replace("+00:00", "Z") for t in values]
    return values
