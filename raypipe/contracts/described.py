"""A contract together with all that its file says of it, and the writer of such files.

The contract holds what is executed. Beside it stand the keys of the standard as they are written, in one canonical
form: rules on a value that a property states under `quality` stand where the others do (`required`, `enum`,
`logicalTypeOptions`), and what says nothing is left out. Knows the standard's notation. Does not know any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from open_data_contract_standard.model import OpenDataContractStandard, SchemaObject, SchemaProperty

from raypipe.contracts.contract import Contract, Field
from raypipe.contracts.document import read_document
from raypipe.contracts.odcs import load_contract

Keys = Mapping[str, object]
"""Keys of the standard and their values, as a file has them: text, numbers, booleans, lists and mappings."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something that is said but not carried on, and where it stands."""

    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A field and the property that states it.

    Parameters
    ----------
    field
        What is executed.
    stated
        The keys of the property in canonical form.
    """

    field: Field
    stated: Keys


@dataclass(frozen=True, slots=True, eq=False)
class Described:
    """A contract and what its file says.

    Parameters
    ----------
    contract
        What is executed.
    columns
        Its columns in order.
    stated
        The keys of the contract, without `schema`.
    schema
        The keys of its one schema object, without `properties`.
    notes
        What the canonical form leaves out.
    """

    contract: Contract
    columns: tuple[Column, ...]
    stated: Keys
    schema: Keys
    notes: tuple[Note, ...]


def describe(text: str, file: str) -> Described:
    """Return the contract that a file states, with everything else in it.

    Parameters
    ----------
    text, file
        As `load_contract` takes them.

    Raises
    ------
    ContractError
        As `load_contract` does.
    """
    contract = load_contract(text, file)
    content = dict(read_document(text, file).document.content)
    schema = dict(content.pop("schema")[0])
    notes: list[Note] = []
    columns = []
    for field, written in zip(contract.fields, schema.pop("properties"), strict=True):
        stated, lost = _canonical(written, field)
        columns.append(Column(field, stated))
        notes += lost
    stated, of_object = _ordered(content, _CONTRACT), _ordered(schema, _OBJECT)
    return Described(contract, tuple(columns), stated, of_object, tuple(notes))


def write_odcs(stated: Keys, schema: Keys, properties: Iterable[Keys]) -> str:
    """Return the file of a contract; keys stand in the order of the standard's model.

    Parameters
    ----------
    stated, schema
        As in `Described`.
    properties
        The keys of each property.
    """
    columns = [_ordered(_stated(p), _PROPERTY) for p in properties]
    document = {**_ordered(stated, _CONTRACT), "schema": [{**_ordered(schema, _OBJECT), "properties": columns}]}
    text: str = yaml.dump(document, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=120)
    return text


def listed(value: object) -> list[Any]:
    """Return a list that a key may have, none where it has none."""
    return list(value) if isinstance(value, list | tuple) else []


def mapped(value: object) -> dict[str, Any]:
    """Return a mapping that a key may have, none where it has none."""
    return dict(value) if isinstance(value, Mapping) else {}


class _Writer(yaml.SafeDumper):
    """Safe YAML without aliases, which contracts do not have."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _canonical(written: Keys, field: Field) -> tuple[Keys, list[Note]]:
    kept, notes, options = [], [], mapped(written.get("logicalTypeOptions"))
    values = [entry["value"] for entry in listed(written.get("enum"))]
    said = {entry["value"]: entry for entry in listed(written.get("enum"))}
    for i, rule in enumerate(listed(written.get("quality"))):
        if not _is_on_a_value(rule):
            kept.append(rule)
            continue
        arguments = mapped(rule.get("arguments"))
        values += listed(arguments.get("validValues"))
        options |= {"pattern": str(arguments["pattern"])} if "pattern" in arguments else {}
        if lost := sorted(set(rule) - {"type", "metric", "arguments", "mustBe", "severity"}):
            path = f"{field.name}.quality.{i}"
            notes.append(
                Note(path, f"`{rule['metric']}` becomes a rule of the column itself, without {', '.join(lost)}")
            )
    stated = {
        **written,
        "required": field.required,
        "enum": [said.get(value, {"value": value}) for value in dict.fromkeys(values)],
        "logicalTypeOptions": options,
        "quality": kept,
    }
    return _ordered(_stated(stated), _PROPERTY), notes


def _is_on_a_value(rule: Keys) -> bool:
    """Return whether a quality rule refuses single values, so that a key of the property says the same."""
    stated = {k for k, v in rule.items() if v is not None}
    return (
        rule.get("type") in (None, "library")
        and rule.get("metric") in ("nullValues", "invalidValues")
        and rule.get("mustBe") == 0
        and rule.get("severity") in (None, "error")
        and not any(key.startswith("must") for key in stated - {"mustBe"})
        and set(mapped(rule.get("arguments"))) <= {"validValues", "pattern"}
    )


def _stated(keys: Keys) -> Keys:
    """Return the keys that say something."""
    empty = {"required": False, "enum": [], "logicalTypeOptions": {}, "quality": []}
    stated = {k: v for k, v in keys.items() if v is not None and (k not in empty or v != empty[k])}
    if "logicalTypeOptions" in stated:
        stated["logicalTypeOptions"] = _ordered(mapped(stated["logicalTypeOptions"]), _OPTIONS)
    return stated


def _order(model: type[OpenDataContractStandard | SchemaObject | SchemaProperty], *first: str) -> Sequence[str]:
    return list(dict.fromkeys((*first, *(f.alias or name for name, f in model.model_fields.items()))))


_CONTRACT = _order(OpenDataContractStandard, "apiVersion", "kind", "id", "name", "version", "status")
_OBJECT = _order(SchemaObject, "name", "description")
_OPTIONS = (
    *("format", "timezone", "defaultTimezone", "minLength", "maxLength", "pattern"),
    *("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf"),
)
_PROPERTY = _order(SchemaProperty, "name", "description", "logicalType", "logicalTypeOptions", "required")


def _ordered(keys: Keys, order: Sequence[str]) -> dict[str, object]:
    return dict(_in_order(keys, order))


def _in_order(keys: Keys, order: Sequence[str]) -> Iterator[tuple[str, object]]:
    for key in order:
        if key in keys:
            yield key, keys[key]
    for key in sorted(set(keys) - set(order)):
        yield key, keys[key]
