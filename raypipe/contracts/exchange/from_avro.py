"""The schema of an Avro record as columns of a contract.

Knows Avro's types. `fastavro` says whether a schema is one; what is nested has no column.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import fastavro
from fastavro.schema import SchemaParseException

from raypipe.contracts.described import Keys, Note, mapped
from raypipe.contracts.exchange.carried import Outline, merged
from raypipe.contracts.exchange.to_avro import ATTRIBUTE
from raypipe.errors import ContractError

_TYPES = {
    "string": "string",
    "int": "integer",
    "long": "integer",
    "float": "number",
    "double": "number",
    "boolean": "boolean",
    "enum": "string",
}
_PLAIN = ("type", "logicalType", "name", "symbols")
# What a reader of Avro files makes of them: see `docs/contracts.md`.
_LOGICAL: dict[tuple[str, str], Keys] = {
    ("int", "date"): {"logicalType": "date"},
    **{("long", f"timestamp-{unit}"): {"logicalType": "timestamp"} for unit in ("millis", "micros", "nanos")},
    **{
        ("long", f"local-timestamp-{unit}"): {"logicalType": "timestamp", "logicalTypeOptions": {"timezone": False}}
        for unit in ("millis", "micros", "nanos")
    },
    ("string", "uuid"): {"logicalType": "string"},
    ("fixed", "uuid"): {"logicalType": "string"},
    ("bytes", "decimal"): {"logicalType": "number"},
    ("fixed", "decimal"): {"logicalType": "number"},
}
_LOSES = {
    "uuid": "that the text is a UUID is not taken over",
    "decimal": "the digits of the decimal are not taken over: a number has 64 bits",
    "timestamp-nanos": "times with nanoseconds are refused when they are read",
    "local-timestamp-nanos": "times with nanoseconds are refused when they are read",
}


def read_avro_schema(text: str, file: str) -> Outline:
    """Return what the schema says of its rows.

    Parameters
    ----------
    text
        The schema as JSON.
    file
        Name for messages.

    Raises
    ------
    ContractError
        When it is no Avro schema of a record, or a field is no scalar.
    """
    record, named = _parsed(text, file)
    carried, notes = mapped(record.get(ATTRIBUTE)), []
    space, _, name = str(record["name"]).rpartition(".")
    if space:
        notes.append(Note(name, f"the namespace `{space}` is not taken over"))
    notes += _others(name, record, ("type", "name", "doc", "fields", ATTRIBUTE))
    columns = []
    for field in record["fields"]:
        found = _Field(file, field, named)
        columns.append(found.keys())
        notes += found.notes()
    doc = record.get("doc")
    return Outline(name, None if doc is None else str(doc), tuple(columns), carried, tuple(notes))


def _parsed(text: str, file: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the record, and every type that has a name."""
    named: dict[str, Any] = {}
    try:
        record = fastavro.parse_schema(json.loads(text), named_schemas=named)
    except json.JSONDecodeError as error:
        raise ContractError(
            f"{file}:{error.lineno}: this is not JSON: {error.msg}", file=file, line=error.lineno, key=""
        ) from error
    except (SchemaParseException, ValueError, TypeError, KeyError, AttributeError) as error:
        # What is not even shaped like a schema falls through its parser.
        raise ContractError(f"{file}: this is not an Avro schema: {error}", file=file, line=None, key="") from error
    if not isinstance(record, dict) or record.get("type") not in ("record", "error"):
        raise ContractError(
            f"{file}: the rows of this schema are not records: give a record's schema", file=file, line=None, key=""
        )
    return record, named


def _others(path: str, written: dict[str, Any], known: tuple[str, ...]) -> Iterator[Note]:
    for key in sorted(set(written) - {*known, "__fastavro_parsed", "__named_schemas"}):
        yield Note(path, f"`{key}` is not taken over")


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of the record, in a file with named types."""

    file: str
    written: dict[str, Any]
    named: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.written["name"])

    @property
    def branches(self) -> list[Any]:
        type_ = self.written["type"]
        return type_ if isinstance(type_, list) else [type_]

    @property
    def type(self) -> dict[str, Any]:
        """The one type beside null, as a mapping."""
        (type_, *others) = [b for b in self.branches if b != "null"] or ["null"]
        if others:
            raise self.refused(f"a union of {len(others) + 1} types")
        if isinstance(type_, str):
            type_ = self.named.get(type_, {"type": type_})
        return dict(type_)

    def refused(self, what: str) -> ContractError:
        return ContractError(
            f"{self.file}: the field `{self.name}` is {what}, and a column of a contract has one scalar type: "
            "flatten it, or leave it out (raypipe drops what a contract does not have)",
            file=self.file,
            line=None,
            key=self.name,
        )

    def keys(self) -> Keys:
        type_ = self.type
        base, logical = type_["type"], type_.get("logicalType")
        found = _LOGICAL.get((base, logical)) if logical else None
        if found is None and (base not in _TYPES or str(logical).startswith("time-")):
            raise self.refused(f"{f'{logical} in ' if logical else ''}{base}")
        native: dict[str, object] = {"name": self.name, **(found or {"logicalType": _TYPES[base]})}
        if base == "enum":
            native["enum"] = [{"value": symbol} for symbol in type_["symbols"]]
        if "doc" in self.written:
            native["description"] = str(self.written["doc"])
        return merged({**native, "required": "null" not in self.branches}, mapped(self.written.get(ATTRIBUTE)))

    def notes(self) -> Iterator[Note]:
        type_, logical = self.type, self.type.get("logicalType")
        if logical in _LOSES:
            yield Note(self.name, _LOSES[logical])
        elif logical and (type_["type"], logical) not in _LOGICAL:
            yield Note(self.name, f"the logical type `{logical}` is not taken over")
        hidden = ("precision", "scale", "size", "namespace") if logical in _LOSES or type_["type"] == "enum" else ()
        yield from _others(self.name, type_, (*_PLAIN, *hidden))
        ignored = ("default",) if self.written.get("default") is None else ()
        yield from _others(self.name, self.written, ("name", "type", "doc", ATTRIBUTE, *ignored))
