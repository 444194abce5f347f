"""A contract from a file of the Open Data Contract Standard 3.x: all of its rules, or an error that names the line.

Knows the standard's notation. Does not know rows, and never skips a rule that it cannot execute.
"""

from __future__ import annotations

import difflib
from dataclasses import replace

import pyarrow as pa
from open_data_contract_standard.model import OpenDataContractStandard, SchemaObject, SchemaProperty
from pydantic import ValidationError

from raypipe.contracts.agreements import read_latencies, read_retention
from raypipe.contracts.contract import RESERVED, TIMESTAMP, Contract, Field
from raypipe.contracts.document import Place, read_document
from raypipe.contracts.properties import read_property
from raypipe.contracts.quality import read_rules
from raypipe.contracts.queries import read_queries
from raypipe.contracts.relationships import read_relationships
from raypipe.contracts.table_rules import DuplicateValues, TableRule, named
from raypipe.contracts.vocabulary import check_keys


def load_contract(text: str, file: str) -> Contract:
    """Return the contract that the file states.

    Parameters
    ----------
    text
        YAML of ODCS 3.x with exactly one schema object. Its `customProperties` name the fields of the two clocks:
        `eventAt`, and `knownAt` unless the arrival of the object is what made a row known.
    file
        Name for messages.

    Raises
    ------
    ContractError
        With file, line and key, when the file is not a valid contract or states a rule that raypipe cannot execute.
    """
    root = read_document(text, file)
    check_keys(root)
    model = _validated(root)
    if model.kind != "DataContract" or not (model.apiVersion or "").startswith("v3."):
        raise root.at("apiVersion").error(
            f"this is kind {model.kind!r} of apiVersion {model.apiVersion!r}: raypipe reads DataContract v3.x"
        )
    if not model.version:
        raise root.error("the contract has no `version`: add one, such as 1.0.0")
    objects = model.schema_ or []
    if len(objects) != 1:
        raise root.at("schema").error(f"a contract file has exactly one schema object, found {len(objects)}: split it")
    contract = _contract(objects[0], model.version, root.at("schema", 0))
    return _with_agreements(contract, model, root)


def _validated(root: Place) -> OpenDataContractStandard:
    try:
        return OpenDataContractStandard.model_validate(root.document.content)
    except ValidationError as error:
        first = error.errors()[0]
        place = root.at(*first["loc"])
        raise place.error(f"`{'.'.join(map(str, first['loc']))}` is {first['input']!r}: {first['msg']}") from error


def _contract(schema: SchemaObject, version: str, place: Place) -> Contract:
    if not schema.name:
        raise place.error("the schema object has no `name`: name it after the source")
    if not schema.properties:
        raise place.error(f"`{schema.name}` has no `properties`: list its columns")
    key = _key(schema.properties, place)
    read = [
        read_property(p, place.at("properties", i), sole_key=key == (p.name,)) for i, p in enumerate(schema.properties)
    ]
    fields = tuple(field for field, _ in read)
    _check_names(fields, place)
    event_at, known_at = _clocks(schema, place)
    contract = Contract(schema.name, version, fields, key, event_at, known_at)
    _check_roles(contract, place)
    table = [rule for _, rules in read for rule in rules]
    return _with_rules(contract, table, schema, place)


def _with_rules(contract: Contract, table: list[TableRule], schema: SchemaObject, place: Place) -> Contract:
    """Return the contract with the rules that look at several columns, or at the table."""
    table = [*table, *read_rules(schema.quality or [], place, None).table]
    for rule in table:
        for name in rule.measure.columns if isinstance(rule.measure, DuplicateValues) else ():
            if name not in contract.schema.names:
                raise place.at("quality").error(f"`{rule.name}` names `{name}`, which is not a property: name one")
    queries = read_queries(schema, contract.schema, place)
    relationships = read_relationships(schema, contract.schema, place)
    return replace(
        contract, expressions=queries.expressions, table_rules=named([*table, *queries.table, *relationships])
    )


def _with_agreements(contract: Contract, model: OpenDataContractStandard, root: Place) -> Contract:
    agreed = model.slaProperties or []
    element = model.slaDefaultElement or contract.event_at
    latencies = read_latencies(agreed, element, contract.name, contract.schema, root)
    retention = read_retention(agreed, element, contract.name, contract.event_at, root)
    return replace(contract, table_rules=named([*contract.table_rules, *latencies]), retention=retention)


def _key(properties: list[SchemaProperty], place: Place) -> tuple[str, ...]:
    keyed = [(p.primaryKeyPosition, i, str(p.name)) for i, p in enumerate(properties) if p.primaryKey]
    if not keyed:
        raise place.error("no property has `primaryKey: true`: an event needs columns that identify it")
    positions = [position for position, _, _ in keyed if position is not None]
    if positions and sorted(positions) != list(range(1, len(keyed) + 1)):
        raise place.at("properties", keyed[0][1]).error(
            f"the `primaryKeyPosition`s are {sorted(positions)}: give all {len(keyed)} keys one, from 1, or none"
        )
    return tuple(name for _, _, name in sorted(keyed, key=lambda k: (k[0] or 0, k[1])))


def _check_names(fields: tuple[Field, ...], place: Place) -> None:
    names = [f.name for f in fields]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise place.at("properties", i, "name").error(f"the column `{name}` is declared twice: remove one")


def _clocks(schema: SchemaObject, place: Place) -> tuple[str, str | None]:
    stated: dict[str, str] = {}
    for i, custom in enumerate(schema.customProperties or []):
        name, here = str(custom.property), place.at("customProperties", i)
        if name in ("eventAt", "knownAt"):
            stated[name] = str(custom.value)
        # A misspelt knownAt would fall back to the arrival time, which changes what a model may see.
        elif near := difflib.get_close_matches(name.lower().replace("_", ""), ["eventat", "knownat"], 1, cutoff=0.8):
            meant = {"eventat": "eventAt", "knownat": "knownAt"}[near[0]]
            raise here.error(f"the custom property `{name}` is not known: did you mean `{meant}`?")
    if "eventAt" not in stated:
        raise place.error("no custom property `eventAt` names the timestamp at which an event happened: add it")
    return stated["eventAt"], stated.get("knownAt")


def _check_roles(contract: Contract, place: Place) -> None:
    positions = {f.name: i for i, f in enumerate(contract.fields)}
    for role, name in (("eventAt", contract.event_at), ("knownAt", contract.known_at)):
        if name is None:
            continue
        if name not in positions:
            raise place.at("customProperties").error(f"`{role}` names `{name}`, which is not a property: name one")
        field, here = contract.field(name), place.at("properties", positions[name])
        if field.type != TIMESTAMP or not field.required:
            raise here.error(
                f"`{name}` is the {role} of every row: give it `logicalType: timestamp` and `required: true`"
            )
    for name in contract.key:
        if contract.field(name).type == pa.float64():
            raise place.at("properties", positions[name]).error(
                f"`{name}` is a number and part of the key, but a fraction has no one spelling: use integer or string"
            )
    allowed = {("event_at", contract.event_at), ("known_at", contract.known_at)}
    for name in RESERVED:
        if name in positions and (name, name) not in allowed:
            raise place.at("properties", positions[name], "name").error(
                f"`{name}` is a column that raypipe adds to every row of the lake: rename it at the source, or in the "
                "contract and the objects"
            )
