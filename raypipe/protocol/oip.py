"""Open Inference Protocol v2 over REST: JSON in, a typed table; scores, JSON out.

One input tensor is one column (what the request parameter `content_type: "pd"` says too), of shape [n] or [n, 1],
its data row-major, nested or flat. A timestamp travels as BYTES, ISO 8601 with an offset; there is no second way,
because an integer does not say its unit. Knows bytes and tables; does not know models, HTTP or time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from raypipe.columns import Column
from raypipe.errors import BadRequest
from raypipe.protocol.cells import Cells, shown, typed_table

SCORE = "score"
"""Name of the one output tensor, FP64 of shape [n]."""

_INTEGERS = {f"{sign}INT{bits}": (sign, bits) for sign in ("", "U") for bits in (8, 16, 32, 64)}
_NUMBERS = frozenset({*_INTEGERS, "FP32", "FP64"})
_DATATYPES: Mapping[str, frozenset[str]] = {
    "string": frozenset({"BYTES"}),
    "int64": _NUMBERS,
    "float64": _NUMBERS,
    "bool": frozenset({"BOOL"}),
    "timestamp": frozenset({"BYTES"}),
}
_NATIVE = {"string": "BYTES", "int64": "INT64", "float64": "FP64", "bool": "BOOL", "timestamp": "BYTES"}


@dataclass(frozen=True, slots=True)
class InferRequest:
    """One request, checked.

    Parameters
    ----------
    id
        What the client calls it, to be echoed; None where it said nothing.
    table
        One row per example, columns as the model takes them.
    outputs
        The output tensors to send back; empty means all.
    """

    id: str | None
    table: pa.Table
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Origin:
    """Who answered a request: every answer says so.

    Parameters
    ----------
    model, version
        The model's name and the version that scored.
    epoch
        Generation in force when it did.
    arm
        `champion`, `challenger`, or `pinned` where the caller named a version that is neither.
    rollout
        The rollout under way; None where there is none.
    """

    model: str
    version: str
    epoch: int
    arm: str = "champion"
    rollout: str | None = None


def parse_infer(
    body: bytes,
    columns: tuple[Column, ...],
    *,
    max_rows: int = 10_000,
    schema: pa.Schema | None = None,
    ignored: Collection[str] = (),
) -> InferRequest:
    """Return the request that `body` states.

    Parameters
    ----------
    body
        The JSON text. Nesting deeper than 1,024 levels is refused by the parser.
    columns
        The model's inputs; one tensor each, in any order.
    max_rows
        More rows are refused before any cell is looked at.
    schema
        `arrow_schema(columns)`, where the caller keeps it.
    ignored
        Names of inputs that may be sent though this model takes none so called.

    Raises
    ------
    BadRequest
        Naming the field that cannot be read and what to send instead.
    """
    request = _object(body)
    identity = request.get("id")
    if identity is not None and not isinstance(identity, str):
        raise BadRequest(f"`id` is {shown(identity)}: it must be a string")
    _check_parameters(request.get("parameters"))
    tensors = request.get("inputs")
    if not isinstance(tensors, list):
        raise BadRequest("`inputs` is missing or not a list: send one tensor per column of the model")
    types = {c.name: c.type for c in columns}
    given: dict[str, Cells] = {}
    for position, tensor in enumerate(tensors):
        name, cells = _column_of(tensor, position, types, max_rows)
        if name in given:
            raise BadRequest(f"input `{name[:100]}` is given twice: send each column once", column=name[:100])
        given[name] = cells
    return InferRequest(
        identity, typed_table(given, columns, schema, ignored=ignored), _outputs(request.get("outputs"))
    )


def infer_answer(request: InferRequest, scores: np.ndarray, origin: Origin, *, request_id: str) -> bytes:
    """Return the answer's JSON; a score that is not finite is null, since JSON has no other word for it.

    Parameters
    ----------
    scores
        float64 of shape (n,), in the order of the request's rows.
    request_id
        Stands for the id where the client gave none.
    """
    parameters: dict[str, object] = {"epoch": origin.epoch, "arm": origin.arm}
    if origin.rollout is not None:
        parameters["rollout"] = origin.rollout
    score = {"name": SCORE, "datatype": "FP64", "shape": [len(scores)], "data": scores}
    answer = {
        "model_name": origin.model,
        "model_version": origin.version,
        "id": request.id if request.id is not None else request_id,
        "parameters": parameters,
        "outputs": [score],
    }
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def infer_body(table: pa.Table, columns: Sequence[Column]) -> bytes:
    """Return the request that `parse_infer` reads back as the same rows: what a client sends."""
    inputs = [
        {"name": c.name, "shape": [table.num_rows], "datatype": _NATIVE[c.type], "data": table[c.name].to_pylist()}
        for c in columns
    ]
    return orjson.dumps({"inputs": inputs}, option=orjson.OPT_UTC_Z)


def parse_scores(answer: bytes) -> tuple[str, np.ndarray]:
    """Return the version that answered and its scores, float64 of shape (n,), NaN where it sent null.

    Raises
    ------
    BadRequest
        When `answer` is not what `infer_answer` writes.
    """
    try:
        body = orjson.loads(answer)
        return str(body["model_version"]), np.array(body["outputs"][0]["data"], dtype=np.float64)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise BadRequest(f"{answer[:200]!r} is not an answer of the Open Inference Protocol") from error


def model_metadata(name: str, versions: Sequence[str], columns: Sequence[Column]) -> bytes:
    """Return a model's metadata; the leading dimension -1 says that a request may have any number of rows."""
    inputs = [
        {"name": c.name, "datatype": _NATIVE[c.type], "shape": [-1]}
        | ({"parameters": {"content_type": "datetime"}} if c.type == "timestamp" else {})
        for c in columns
    ]
    outputs = [{"name": SCORE, "datatype": "FP64", "shape": [-1]}]
    return orjson.dumps(
        {"name": name, "versions": list(versions), "platform": "raypipe", "inputs": inputs, "outputs": outputs}
    )


def server_metadata(version: str) -> bytes:
    """Return the server's metadata."""
    return orjson.dumps({"name": "raypipe", "version": version, "extensions": []})


def health(*, ready: bool) -> bytes:
    """Return a health body; clients read `ready`, `live`, or only the status."""
    return orjson.dumps({"ready": ready, "live": True})


def model_health(name: str, *, ready: bool) -> bytes:
    """Return whether one model can answer."""
    return orjson.dumps({"name": name, "ready": ready, "live": True})


def error_body(message: str) -> bytes:
    """Return an error as this protocol writes it."""
    return orjson.dumps({"error": message})


def _object(body: bytes) -> dict[str, Any]:
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
    if not isinstance(request, dict):
        raise BadRequest('the body is not a JSON object: send {"inputs": [...]}')
    return request


def _check_parameters(parameters: object) -> None:
    if parameters is None:
        return
    if not isinstance(parameters, dict):
        raise BadRequest(f"`parameters` is {shown(parameters)}: it must be an object")
    content_type = parameters.get("content_type")
    if content_type not in (None, "pd"):
        raise BadRequest(
            f'`parameters.content_type` is {shown(content_type)}: only "pd" (one tensor per column) is understood'
        )


def _column_of(tensor: object, position: int, types: Mapping[str, str], max_rows: int) -> tuple[str, Cells]:
    if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
        raise BadRequest(f'`inputs[{position}]` has no name: send {{"name", "shape", "datatype", "data"}}')
    name: str = tensor["name"]
    if name not in types:
        return name, ()  # refused by name, with the nearest valid one, where all names are known
    rows, nested_allowed = _rows_of(name, tensor.get("shape"), max_rows)
    datatype = tensor.get("datatype")
    if not isinstance(datatype, str) or datatype not in _DATATYPES[types[name]]:
        allowed = ", ".join(sorted(_DATATYPES[types[name]]))
        raise BadRequest(
            f"input `{name}` has datatype {shown(datatype)}: a {types[name]} column is sent as {allowed}", column=name
        )
    data = tensor.get("data")
    if not isinstance(data, list):
        binary = isinstance(tensor.get("parameters"), dict) and "binary_data_size" in tensor["parameters"]
        hint = "binary tensors are not understood, set binary_data=False" if binary else "send its values as a list"
        raise BadRequest(f"input `{name}` has no `data` list: {hint}", column=name)
    cells = _flat(name, data) if nested_allowed and data and isinstance(data[0], list) else data
    if len(cells) != rows:
        raise BadRequest(f"input `{name}` has {len(cells)} values, its shape says {rows}: make them agree", column=name)
    if datatype in _INTEGERS:
        _check_range(name, datatype, cells)
    return name, cells


def _rows_of(name: str, shape: object, max_rows: int) -> tuple[int, bool]:
    if not isinstance(shape, list) or not all(type(d) is int and d >= 0 for d in shape):
        raise BadRequest(f"input `{name}` has shape {shown(shape)}: it must be [n] or [n, 1]", column=name)
    if len(shape) not in (1, 2) or shape[1:] not in ([], [1]):
        raise BadRequest(
            f"input `{name}` has shape {shown(shape)}: one tensor is one column, so [n] or [n, 1]", column=name
        )
    if shape[0] > max_rows:
        raise BadRequest(
            f"input `{name}` has {shape[0]} rows, at most {max_rows} fit in a request: send several", column=name
        )
    return shape[0], len(shape) == 2


def _flat(name: str, data: list[object]) -> list[object]:
    cells: list[object] = []
    for row, cell in enumerate(data):
        if not isinstance(cell, list) or len(cell) != 1:
            raise BadRequest(
                f"input `{name}` row {row} is {shown(cell)}: nested data of shape [n, 1] has one value in each row",
                column=name,
            )
        cells.append(cell[0])
    return cells


def _check_range(name: str, datatype: str, cells: Cells) -> None:
    sign, bits = _INTEGERS[datatype]
    low, high = (0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    for row, cell in enumerate(cells):
        if isinstance(cell, (int, float)) and not (low <= cell <= high and int(cell) == cell):
            raise BadRequest(f"input `{name}` row {row} is {cell}: {datatype} holds {low} to {high}", column=name)


def _outputs(outputs: object) -> tuple[str, ...]:
    if outputs is None:
        return ()
    if not isinstance(outputs, list):
        raise BadRequest(f'`outputs` is {shown(outputs)}: it must be a list of {{"name"}}')
    names = []
    for position, output in enumerate(outputs):
        name = output.get("name") if isinstance(output, dict) else None
        if name != SCORE:
            raise BadRequest(f"`outputs[{position}]` asks for {shown(name)}: the model's one output is `{SCORE}`")
        names.append(SCORE)
    return tuple(names)
