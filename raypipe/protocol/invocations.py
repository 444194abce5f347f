"""MLflow's scoring protocol: `POST /invocations` with JSON or CSV, `{"predictions": [...]}` back.

Knows bytes and tables; does not know models, HTTP or time.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Collection, Mapping

import numpy as np
import orjson
import pyarrow as pa

from raypipe.columns import Column
from raypipe.errors import BadRequest
from raypipe.protocol.cells import Cells, cells_from_text, typed_table

_SHAPES = ("dataframe_split", "dataframe_records", "instances", "inputs")


class UnsupportedMediaType(BadRequest):
    """The body is in a format that is not read here: HTTP 415."""


def parse_invocations(
    body: bytes,
    content_type: str,
    columns: tuple[Column, ...],
    *,
    max_rows: int = 10_000,
    schema: pa.Schema | None = None,
    ignored: Collection[str] = (),
) -> pa.Table:
    """Return the table that `body` states, typed as the model takes it.

    Parameters
    ----------
    body
        JSON with exactly one of `dataframe_split`, `dataframe_records`, `instances`, `inputs` (and `params`, which
        no raypipe model has, so it is not looked at), or CSV with a header.
    content_type
        The request's header, such as `application/json; charset=utf-8`.
    columns
        The model's inputs; all must be there, in any order, null where not known.
    ignored
        Names of columns that may be sent though this model takes none so called.

    Raises
    ------
    UnsupportedMediaType
        When the content type or its charset is another.
    BadRequest
        Naming the field that cannot be read and what to send instead.
    """
    media_type, _, rest = content_type.partition(";")
    _check_charset(rest)
    match media_type.strip().lower():
        case "application/json":
            given = _from_json(body, max_rows)
        case "text/csv":
            given = _from_csv(body, columns, max_rows)
        case other:
            raise UnsupportedMediaType(
                f"the content type is {other[:60]!r}: send application/json or text/csv, in UTF-8"
            )
    return typed_table(given, columns, schema, where="column", ignored=ignored)


def predictions_answer(scores: np.ndarray) -> bytes:
    """Return the answer's JSON; a score that is not finite is null."""
    return orjson.dumps({"predictions": scores}, option=orjson.OPT_SERIALIZE_NUMPY)


def error_body(message: str, code: str = "BAD_REQUEST") -> bytes:
    """Return an error as this protocol writes it."""
    return orjson.dumps({"error_code": code, "message": message})


def _check_charset(parameters: str) -> None:
    for parameter in parameters.split(";"):
        key, _, value = parameter.partition("=")
        charset = value.strip().strip('"').lower()
        if key.strip().lower() == "charset" and charset not in ("utf-8", "utf8"):
            raise UnsupportedMediaType(f"the charset is {charset[:60]!r}: send UTF-8")


def _from_json(body: bytes, max_rows: int) -> Mapping[str, Cells]:
    request = _loads(body)
    if not isinstance(request, dict):
        raise BadRequest('the body is not a JSON object: send {"dataframe_split": {"columns", "data"}}')
    named = [shape for shape in _SHAPES if shape in request]
    if len(named) != 1:
        raise BadRequest(f"the body has {', '.join(named) or 'none'} of {', '.join(_SHAPES)}: send exactly one of them")
    content = request[named[0]]
    match named[0], content:
        case "dataframe_split", dict():
            return _from_split(content, max_rows)
        case (("dataframe_records" | "instances" | "inputs"), list()):
            return _from_records(named[0], content, max_rows)
        case "inputs", dict():
            return _from_columns(content, max_rows)
        case _:
            kind = "an object" if named[0] == "dataframe_split" else "a list of objects"
            raise BadRequest(f"`{named[0]}` must be {kind}, with the names of the model's columns")


def _loads(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # MLflow's own client writes the nulls of a data frame as NaN, which JSON does not have.
        if b"NaN" not in body:
            raise BadRequest(f"the body is not JSON: {error}") from error
    try:
        return json.loads(body, parse_constant=_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {error}") from error


def _constant(name: str) -> None:
    if name != "NaN":
        raise ValueError(f"{name} is not a number: send null")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:60]} is beyond what a double holds")
    return number


def _from_split(content: Mapping[str, object], max_rows: int) -> Mapping[str, Cells]:
    names, data = content.get("columns"), content.get("data")
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names) or not isinstance(data, list):
        raise BadRequest("`dataframe_split` needs `columns` (names) and `data` (a list of rows)")
    if len(set(names)) != len(names):
        raise BadRequest("`dataframe_split.columns` names a column twice: send each once")
    _check_rows("dataframe_split.data", len(data), max_rows)
    for row, cells in enumerate(data):
        if not isinstance(cells, list) or len(cells) != len(names):
            raise BadRequest(f"`dataframe_split.data[{row}]` is not a list of {len(names)} values, one for each column")
    return dict(zip(names, zip(*data, strict=True), strict=True)) if data else dict.fromkeys(names, ())


def _from_records(shape: str, records: list[object], max_rows: int) -> Mapping[str, Cells]:
    _check_rows(shape, len(records), max_rows)
    names: list[str] = list(records[0]) if records and isinstance(records[0], dict) else []
    given: dict[str, list[object]] = {n: [] for n in names}
    for row, record in enumerate(records):
        if not isinstance(record, dict) or record.keys() != given.keys() or not record:
            raise BadRequest(f"`{shape}[{row}]` is not an object with the same columns as the first: name each column")
        for name, cell in record.items():
            given[name].append(cell)
    return given


def _from_columns(content: Mapping[str, object], max_rows: int) -> Mapping[str, Cells]:
    given: dict[str, Cells] = {}
    for name, cells in content.items():
        if not isinstance(cells, list):
            raise BadRequest(f"`inputs.{name[:100]}` is not a list: send one value per row", column=name)
        _check_rows(f"inputs.{name[:100]}", len(cells), max_rows)
        given[name] = cells
    return given


def _from_csv(body: bytes, columns: tuple[Column, ...], max_rows: int) -> Mapping[str, Cells]:
    try:
        rows = list(csv.reader(io.StringIO(body.decode("utf-8-sig")), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadRequest(f"the body is not CSV in UTF-8: {error}") from error
    header, data = (rows[0], [r for r in rows[1:] if r]) if rows else ([], [])
    if len(set(header)) != len(header):
        raise BadRequest("the CSV header names a column twice: send each once")
    _check_rows("the CSV body", len(data), max_rows)
    for row, fields in enumerate(data):
        if len(fields) != len(header):
            raise BadRequest(f"CSV row {row} has {len(fields)} fields, the header has {len(header)}: quote commas")
    types = {c.name: c for c in columns}
    texts = {name: [fields[i] for fields in data] for i, name in enumerate(header)}
    return {name: cells_from_text(cells, types[name]) if name in types else cells for name, cells in texts.items()}


def _check_rows(where: str, rows: int, max_rows: int) -> None:
    if rows > max_rows:
        raise BadRequest(f"`{where}` has {rows} rows, at most {max_rows} fit in a request: send several")
