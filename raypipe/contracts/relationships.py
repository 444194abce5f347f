"""The `relationships` of a contract: rows that name a key of another source's rows.

Knows how a contract states them, and whether the contracts of a pipeline fit. Does not know rows.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
from open_data_contract_standard.model import Relationship, SchemaObject

from raypipe.contracts.comparison import ZERO, Operator, read_comparison
from raypipe.contracts.contract import Contract
from raypipe.contracts.document import Place
from raypipe.contracts.quality import severity_of
from raypipe.contracts.table_rules import PERCENT, MissingKeys, TableRule, table_rule
from raypipe.errors import ContractError


def read_relationships(schema: SchemaObject, columns: pa.Schema, place: Place) -> tuple[TableRule, ...]:
    """Return the rules that the relationships of the schema object and of its properties state.

    Custom properties of a relationship may be `severity`, `unit` and an operator; without, no key may be missing.

    Raises
    ------
    ContractError
        When one is no foreign key, or is not written as `table.column`.
    """
    found = []
    for i, stated in enumerate(schema.relationships or []):
        here = place.at("relationships", i)
        found.append(_rule(stated, _own(stated, schema, columns, here), here))
    for i, prop in enumerate(schema.properties or []):
        for j, stated in enumerate(prop.relationships or []):
            here = place.at("properties", i, "relationships", j)
            if stated.from_ is not None:
                raise here.at("from").error("`from` is the property itself here: remove it")
            found.append(_rule(stated, (str(prop.name),), here))
    return tuple(found)


def _own(stated: Relationship, schema: SchemaObject, columns: pa.Schema, here: Place) -> tuple[str, ...]:
    if stated.from_ is None or isinstance(stated.from_, str) != isinstance(stated.to, str):
        raise here.error("a relationship of a schema object has `from` and `to`, both of one column or both lists")
    table, names = _columns(stated.from_, here.at("from"))
    if table != schema.name or not set(names) <= set(columns.names):
        raise here.at("from").error(f"`from` is {stated.from_!r}: name columns of `{schema.name}`")
    return names


def _rule(stated: Relationship, own: tuple[str, ...], here: Place) -> TableRule:
    if stated.type not in (None, "foreignKey"):
        raise here.at("type").error(f"the relationship is a {stated.type!r}: raypipe executes foreignKey")
    if stated.to is None:
        raise here.error("the relationship says no `to`: write TABLE.COLUMN")
    table, keys = _columns(stated.to, here.at("to"))
    if len(keys) != len(own):
        raise here.at("to").error(f"`to` has {len(keys)} columns and `from` {len(own)}: name as many")
    more = {str(c.property): c.value for c in stated.customProperties or []}
    operators = {name: value for name, value in more.items() if name in list(Operator)}
    unit = more.get("unit") or "rows"
    if unit not in ("rows", PERCENT):
        raise here.at("customProperties").error(f"the unit of the relationship is {unit!r}: write rows or percent")
    must = read_comparison(operators, here) if operators else ZERO
    return table_rule(MissingKeys(own, table, keys), must, str(unit), severity_of(more.get("severity"), here))


def _columns(stated: str | list[str], here: Place) -> tuple[str, tuple[str, ...]]:
    """Return the table and its columns."""
    named = [stated] if isinstance(stated, str) else stated
    parts = [name.split(".") for name in named]
    if not parts or any(len(p) != 2 or "/" in name or "#" in name for p, name in zip(parts, named, strict=True)):
        raise here.error(
            f"{stated!r} cannot be executed: write TABLE.COLUMN, where TABLE is the name of a schema object of a "
            "source of the same pipeline"
        )
    tables = {table for table, _ in parts}
    if len(tables) != 1:
        raise here.error(f"the columns are of {len(tables)} tables, {', '.join(sorted(tables))}: a key is of one")
    return parts[0][0], tuple(column for _, column in parts)


def keys_of(contract: Contract) -> Iterator[MissingKeys]:
    """Yield the measures of a contract's relationships."""
    yield from (r.measure for r in contract.table_rules if isinstance(r.measure, MissingKeys))


def related(measure: MissingKeys, contracts: Mapping[str, Contract]) -> str:
    """Return the source that the keys are looked up in.

    Parameters
    ----------
    contracts
        Of the sources of a pipeline, by source.

    Raises
    ------
    ContractError
        When no source, or more than one, has that schema object, or its columns are not those.
    """
    sources = [name for name, contract in contracts.items() if contract.name == measure.table]
    if len(sources) != 1:
        near = difflib.get_close_matches(measure.table, [c.name for c in contracts.values()], 1)
        hint = f", did you mean `{near[0]}`?" if near and not sources else ": name one that exactly one source has"
        raise _wrong(measure, f"{len(sources)} sources of the pipeline have a schema object `{measure.table}`{hint}")
    types = {f.name: f.type for f in contracts[sources[0]].fields}
    for key in measure.keys:
        if key not in types:
            raise _wrong(measure, f"`{measure.table}` has no column `{key}`: it has {', '.join(types)}")
    return sources[0]


def check_related(contracts: Mapping[str, Contract]) -> None:
    """Return when every relationship leads to columns of the same types.

    Raises
    ------
    ContractError
        When one does not.
    """
    for contract in contracts.values():
        for measure in keys_of(contract):
            other = contracts[related(measure, contracts)]
            _check_types(measure, _types(contract, measure.columns), _types(other, measure.keys))


def _types(contract: Contract, names: Sequence[str]) -> list[pa.DataType]:
    return [contract.field(name).type for name in names]


def _check_types(measure: MissingKeys, own: list[pa.DataType], other: list[pa.DataType]) -> None:
    if own != other:
        ours, theirs = (", ".join(map(str, types)) for types in (own, other))
        raise _wrong(measure, f"the columns are {ours} and the key is {theirs}: no value could be equal")


def _wrong(measure: MissingKeys, why: str) -> ContractError:
    return ContractError(f"{measure}: {why}", key=measure.table)
