"""What of a contract goes with another notation as keys of the standard, because the notation itself cannot hold it.

Knows keys of the standard. Does not know which of them a notation holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum

from raypipe.contracts.described import Column, Described, Keys, Note, listed, mapped, write_odcs
from raypipe.errors import ContractError

PROTOBUF_NUMBER = "protobufNumber"
"""The custom property of a column that pins its field number."""

_RULES = ("required", "enum", "unique", "quality", "relationships")
_OPTIONS = "logicalTypeOptions"
NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")
"""What Avro and Protobuf take for a name."""


class Notation(StrEnum):
    """A way to write a contract down."""

    AVRO = "avro"
    PROTOBUF = "protobuf"
    JSON_SCHEMA = "json-schema"
    ODCS = "odcs"


@dataclass(frozen=True, slots=True)
class Exported:
    """A contract in another notation, and what a reader of that notation does not check."""

    text: str
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """What a schema in another notation says, in the words of the standard.

    Parameters
    ----------
    name
        Name of the record, empty where it has none.
    description
        What it says of itself.
    columns
        The keys of each property.
    carried
        The keys of a contract that were exported with it; `schema` is the one schema object.
    notes
        What is not taken over.
    """

    name: str
    description: str | None
    columns: tuple[Keys, ...]
    carried: Keys
    notes: tuple[Note, ...]


def carry(column: Column, held: Collection[str]) -> dict[str, object]:
    """Return the keys of a column that the notation does not hold.

    Parameters
    ----------
    column
        The column.
    held
        Keys that it holds, such as `required` or `logicalTypeOptions.minimum`.
    """
    options = {k: v for k, v in mapped(column.stated.get(_OPTIONS)).items() if f"{_OPTIONS}.{k}" not in held}
    # A notation that holds the values of an enum does not hold what is said about each.
    labelled = any(set(entry) - {"value"} for entry in listed(column.stated.get("enum")))
    gone = {"name", _OPTIONS, *held} - ({"enum"} if labelled else set())
    kept = {key: value for key, value in column.stated.items() if key not in gone}
    return {**kept, **({_OPTIONS: options} if options else {})}


def carry_contract(described: Described) -> dict[str, object]:
    """Return the keys of the contract and of its schema object."""
    return {**described.stated, "schema": described.schema}


def unchecked(column: Column, held: Collection[str], reader: str) -> Iterator[Note]:
    """Yield a note where a reader of the notation does not check every rule of a column.

    Parameters
    ----------
    column, held
        As `carry` takes them.
    reader
        Who does not, such as `an Avro reader`.
    """
    options = [f"{_OPTIONS}.{k}" for k in mapped(column.stated.get(_OPTIONS))]
    left = [key for key in (*options, *(k for k in _RULES if k in column.stated)) if key not in held]
    if left:
        words = ", ".join(f"`{key.removeprefix(f'{_OPTIONS}.')}`" for key in left)
        yield Note(column.field.name, f"{reader} does not check {words}: carried on as keys of the contract")


def unchecked_of_contract(described: Described, reader: str) -> Iterator[Note]:
    """Yield a note where the contract has rules that concern more than one value."""
    left = [key for key in ("quality", "relationships") if described.schema.get(key)]
    left += [key for key in ("slaProperties",) if described.stated.get(key)]
    if left:
        words = ", ".join(f"`{key}`" for key in left)
        yield Note(described.contract.name, f"{reader} does not check {words}: carried on as keys of the contract")


def merged(native: Keys, carried: Keys) -> dict[str, object]:
    """Return the keys of a column: what the notation itself says comes before what was carried with it."""
    options = {**mapped(carried.get(_OPTIONS)), **mapped(native.get(_OPTIONS))}
    said = {entry["value"]: entry for entry in listed(carried.get("enum")) if "value" in mapped(entry)}
    enum = [said.get(entry["value"], entry) for entry in listed(native.get("enum"))] or list(said.values())
    return {**carried, **native, **({_OPTIONS: options} if options else {}), **({"enum": enum} if enum else {})}


def record_name(described: Described) -> str:
    """Return the name of the schema object as Avro and Protobuf take it; the contract's own is carried."""
    name = re.sub("[^A-Za-z0-9_]", "_", described.contract.name)
    return name if NAME.fullmatch(name) else f"_{name}"


def check_column_names(described: Described, notation: str) -> None:
    """Return when every column has a name that the notation takes: columns are found by name, so none is changed.

    Raises
    ------
    ContractError
        At the first that has not.
    """
    for column in described.columns:
        name = column.field.name
        if not NAME.fullmatch(name):
            raise ContractError(
                f"the column `{name}` cannot be written in {notation}, whose names are letters, digits and `_` and do "
                "not begin with a digit: rename it, or export as json-schema",
                key=name,
            )


def as_json(value: object, *, indent: int | None = None) -> str:
    """Return the value as JSON.

    Raises
    ------
    ContractError
        When JSON has no word for something in it.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    except (TypeError, ValueError) as error:
        raise ContractError(
            f"the contract has a value that JSON cannot say ({error}): write it as text", key=""
        ) from error


def to_odcs(described: Described) -> Exported:
    """Return the contract in canonical form: what it says, without its comments and in one order."""
    return Exported(write_odcs(described.stated, described.schema, (c.stated for c in described.columns)), ())
