"""A contract as the schema of an Avro record, as `readers` says that Avro reads it.

Knows Avro's types. Avro holds types, nulls and the symbols of an enum; the rest goes along as the attribute `odcs`,
which readers of Avro skip.
"""

from __future__ import annotations

from raypipe.contracts.contract import Field
from raypipe.contracts.described import Column, Described
from raypipe.contracts.exchange.carried import (
    Exported,
    as_json,
    carry,
    carry_contract,
    check_column_names,
    record_name,
    unchecked,
    unchecked_of_contract,
)
from raypipe.contracts.readers import symbols

ATTRIBUTE = "odcs"
"""The attribute of a record and of a field that holds keys of the standard."""

_READER = "an Avro reader"
_TYPES: dict[str, object] = {
    "string": "string",
    "int64": "long",
    "double": "double",
    "bool": "boolean",
    "date32[day]": {"type": "int", "logicalType": "date"},
    "timestamp[us, tz=UTC]": {"type": "long", "logicalType": "timestamp-micros"},
}


def to_avro(described: Described) -> Exported:
    """Return the contract as an Avro schema (`.avsc`).

    Parameters
    ----------
    described
        The contract.

    Raises
    ------
    ContractError
        When a column's name is none in Avro.
    """
    check_column_names(described, "Avro")
    name = record_name(described)
    schema = {
        "type": "record",
        "name": name,
        **({"doc": text} if (text := description_of(described)) else {}),
        "fields": [_field(column, name) for column in described.columns],
        ATTRIBUTE: carry_contract(described),
    }
    notes = [note for c in described.columns for note in unchecked(c, _held(c), _READER)]
    return Exported(as_json(schema, indent=2) + "\n", (*notes, *unchecked_of_contract(described, _READER)))


def description_of(described: Described) -> str | None:
    """Return what the schema object is, else what the contract is for."""
    purpose = described.stated.get("description")
    said = described.schema.get("description") or (purpose.get("purpose") if isinstance(purpose, dict) else purpose)
    return None if said is None else str(said)


def _held(column: Column) -> set[str]:
    return {"logicalType", "required", "description"} | ({"enum"} if symbols(column.field) else set())


def _field(column: Column, record: str) -> dict[str, object]:
    branch, carried = _type(column.field, record), carry(column, _held(column))
    described = column.stated.get("description")
    return {
        "name": column.field.name,
        **({} if described is None else {"doc": described}),
        "type": branch if column.field.required else ["null", branch],
        **({} if column.field.required else {"default": None}),
        **({ATTRIBUTE: carried} if carried else {}),
    }


def _type(field: Field, record: str) -> object:
    values = symbols(field)
    if values is None:
        return _TYPES[str(field.type)]
    # Readers match enums by the last part of their name; the namespace keeps it apart from the record's.
    return {"type": "enum", "name": field.name, "namespace": f"{record}_columns", "symbols": list(values)}
