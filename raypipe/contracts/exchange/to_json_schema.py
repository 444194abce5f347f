"""A contract as a JSON Schema (draft 2020-12), as `readers` says that JSON Schema reads it.

Knows JSON Schema's keywords. JSON Schema holds every rule on one value but ranges of times; the rest goes along as the
keyword `x-odcs`, which validators skip.
"""

from __future__ import annotations

from collections.abc import Iterator

from raypipe.contracts.contract import Field, TimeText
from raypipe.contracts.described import Column, Described, Keys, Note, listed, mapped
from raypipe.contracts.exchange import ecmascript
from raypipe.contracts.exchange.carried import (
    Exported,
    as_json,
    carry,
    carry_contract,
    unchecked,
    unchecked_of_contract,
)
from raypipe.contracts.exchange.to_avro import description_of
from raypipe.contracts.times import ISO_DATE, ISO_TIMESTAMP

KEYWORD = "x-odcs"
"""The keyword of the object and of a property that holds keys of the standard."""
DRAFT = "https://json-schema.org/draft/2020-12/schema"
ANNOTATIONS = {
    "description": "description",
    "businessName": "title",
    "examples": "examples",
    "deprecated": "deprecated",
}
"""Key of the standard -> the keyword that says the same."""

_READER = "a JSON Schema validator"
_OPTIONS = "logicalTypeOptions."
_TYPES = {"string": "string", "int64": "integer", "double": "number", "bool": "boolean"}


def to_json_schema(described: Described) -> Exported:
    """Return the contract as a JSON Schema of one row.

    Parameters
    ----------
    described
        The contract.
    """
    schema = {
        "$schema": DRAFT,
        "title": described.contract.name,
        **({"description": text} if (text := description_of(described)) else {}),
        "type": "object",
        "properties": {c.field.name: _property(c) for c in described.columns},
        "required": [f.name for f in described.contract.fields if f.required],
        KEYWORD: carry_contract(described),
    }
    notes = [note for c in described.columns for note in (*unchecked(c, _checked(c), _READER), *_of_pattern(c.field))]
    return Exported(as_json(schema, indent=2) + "\n", (*notes, *unchecked_of_contract(described, _READER)))


def time_keywords(logical: str, text: TimeText | None) -> dict[str, object]:
    """Return how a date or a timestamp is written: the pattern of its text form, and the format where it has a name.

    Parameters
    ----------
    logical
        `date` or `timestamp`.
    text
        The text form, none for the usual one.
    """
    usual, format = (ISO_TIMESTAMP, "date-time") if logical == "timestamp" else (ISO_DATE, "date")
    form = text or usual
    return {**({"format": format} if form == usual else {}), "pattern": form.pattern}


def _held(column: Column) -> set[str]:
    """Return the keys that JSON Schema holds; what a time is, and its range, it does not."""
    held = {"required", *ANNOTATIONS}
    if str(column.field.type) not in _TYPES:
        return held
    held |= {"logicalType", "enum"}
    held |= {_OPTIONS + key for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")}
    held |= {_OPTIONS + key for key in ("minLength", "maxLength")}
    pattern = column.field.pattern
    return held | ({f"{_OPTIONS}pattern"} if pattern is not None and ecmascript.is_portable(pattern) else set())


def _checked(column: Column) -> set[str]:
    """Return the keys that a validator checks: those that it holds, and values that stand for none."""
    only_missing = all(missing_values(rule) for rule in listed(column.stated.get("quality")))
    return _held(column) | ({"quality"} if only_missing else set())


def missing_values(rule: Keys) -> set[object]:
    """Return the values that a quality rule refuses because they stand for none; of another rule there are none."""
    refuses = rule.get("mustBe") == 0 and rule.get("severity") in (None, "error")
    if rule.get("metric") != "missingValues" or not refuses:
        return set()
    return {value for value in listed(mapped(rule.get("arguments")).get("missingValues")) if value is not None}


def _property(column: Column) -> dict[str, object]:
    field, held = column.field, _held(column)
    kind = _TYPES.get(str(field.type), "string")
    said: dict[str, object] = {"type": kind if field.required else [kind, "null"]}
    said |= {word: column.stated[key] for key, word in ANNOTATIONS.items() if key in column.stated}
    if str(field.type) not in _TYPES:
        said |= time_keywords(str(column.stated["logicalType"]), field.text)
    else:
        said |= dict(_limits(field))
        if field.pattern is not None and f"{_OPTIONS}pattern" in held:
            said["pattern"] = field.pattern
        if field.valid_values is not None:
            said["enum"] = [*dict.fromkeys(field.valid_values), *([] if field.required else [None])]
        if field.missing_values is not None:
            said["not"] = {"enum": list(dict.fromkeys(field.missing_values))}
    carried = carry(column, held)
    return {**said, **({KEYWORD: carried} if carried else {})}


def _limits(field: Field) -> Iterator[tuple[str, object]]:
    for end, bound in (("minimum", field.minimum), ("maximum", field.maximum)):
        if bound is not None:
            yield (f"exclusive{end.capitalize()}" if bound.exclusive else end), bound.value
    for key, length in (("minLength", field.min_length), ("maxLength", field.max_length)):
        if length is not None:
            yield key, length
    if field.multiple_of is not None:
        yield "multipleOf", field.multiple_of


def _of_pattern(field: Field) -> Iterator[Note]:
    if field.pattern is None or not ecmascript.is_portable(field.pattern):
        return
    if vague := ecmascript.alphabets(field.pattern):
        words = ", ".join(f"`{v}`" for v in vague)
        yield Note(field.name, f"{words} of the pattern are those of Unicode in a contract, of ASCII in ECMAScript")
