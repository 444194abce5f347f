"""A JSON Schema of an object as columns of a contract.

Knows JSON Schema's keywords. What is nested has no column, and a keyword that a contract has no rule for is said.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from raypipe.contracts.contract import TimeText
from raypipe.contracts.described import Keys, Note, listed, mapped
from raypipe.contracts.exchange import ecmascript
from raypipe.contracts.exchange.carried import Outline, merged
from raypipe.contracts.exchange.references import SchemaDocument
from raypipe.contracts.exchange.to_json_schema import ANNOTATIONS, KEYWORD, missing_values, time_keywords
from raypipe.contracts.times import ISO_TIMESTAMP_WITHOUT_ZONE, time_text

_SILENT = ("$schema", "$id", "id", "$comment", "$defs", "definitions", "title", "description", KEYWORD)
_SCALARS = ("string", "integer", "number", "boolean")
# What OpenAPI says of numbers that a contract has anyway.
_WIDTHS = {"integer": ("int32", "int64"), "number": ("float", "double")}
_TIMES = {"date": "date", "date-time": "timestamp"}


def read_json_schema(text: str, file: str) -> Outline:
    """Return what the schema says of an object, which is one row.

    Parameters
    ----------
    text
        The schema as JSON.
    file
        Name for messages.

    Raises
    ------
    ContractError
        When it is no JSON Schema of an object with properties, or a property is no scalar.
    """
    document = SchemaDocument.of(text, file)
    root = document.resolved(document.content, "#")
    properties, required = root.get("properties"), root.get("required", [])
    if root.get("type", "object") != "object" or not properties:
        raise document.error(
            "#", "this is not the schema of an object with `properties`, which are a contract's columns"
        )
    found = [
        _Property(document, name, written, required=name in required).read() for name, written in properties.items()
    ]
    notes = [
        Note(f"#/{key}", "not taken over") for key in root if key not in (*_SILENT, "type", "properties", "required")
    ]
    notes += [Note(f"#/required/{i}", f"no property is `{n}`") for i, n in enumerate(required) if n not in properties]
    notes += [note for _, said in found for note in said]
    return Outline(
        str(root.get("title", "")),
        root.get("description"),
        tuple(keys for keys, _ in found),
        mapped(root.get(KEYWORD)),
        tuple(notes),
    )


class _Property:
    """One property as a column. Every keyword that is taken leaves `left`; what is left at the end is said."""

    def __init__(self, document: SchemaDocument, name: str, written: object, *, required: bool) -> None:
        self._document = document
        self._path = f"#/properties/{name.replace('~', '~0').replace('/', '~1')}"
        self._left = document.resolved(written, self._path)
        self._native: dict[str, object] = {"name": name}
        self._options: dict[str, object] = {}
        self._required = required
        self._notes: list[Note] = []

    def read(self) -> tuple[Keys, list[Note]]:
        """Return the keys of the column, and what is not taken over."""
        left, native = self._left, self._native
        carried = mapped(left.pop(KEYWORD, None))
        native |= {key: left.pop(word) for key, word in ANNOTATIONS.items() if word in left}
        if "const" in left:
            left["enum"] = [left.pop("const")]
        kind = self._take_type()
        said = str(carried.get("logicalType", _TIMES.get(left.get("format", ""))))
        logical = said if kind == "string" and said in _TIMES.values() else kind
        if logical in _TIMES.values():
            self._take_text_form(logical, carried)
        else:
            self._take_rules(kind)
            self._take_missing(carried)
        native |= {"logicalType": logical, **({"logicalTypeOptions": self._options} if self._options else {})}
        lost = {key: value for key, value in self._left.items() if key not in _SILENT}
        self._notes += [Note(f"{self._path}/{key}", f"`{value}` is not taken over") for key, value in lost.items()]
        return merged(native, carried), self._notes

    def _take_type(self) -> str:
        left = self._left
        types, values = left.pop("type", []), left.get("enum", [])
        types = list(types) if isinstance(types, list) else [types]
        if not types and values:
            types = sorted({_TYPE_OF.get(type(v), "object") for v in values})
        kinds = [t for t in types if t != "null"]
        kinds = ["number"] if sorted(kinds) == ["integer", "number"] else kinds
        if len(kinds) != 1 or kinds[0] not in _SCALARS:
            raise self._document.error(
                self._path,
                f"the type is {' or '.join(kinds) or 'not said'}, and a column of a contract has one of "
                f"{', '.join(_SCALARS)}: flatten it, or leave it out (raypipe drops what a contract does not have)",
            )
        nullable = left.pop("nullable", False) is True or ("null" in types and (not values or None in values))
        self._native["required"] = self._required and not nullable
        if self._required == nullable:
            other = "absent" if nullable else "null"
            self._notes.append(Note(self._path, f"may be {other} too: a contract does not tell null from absent"))
        return str(kinds[0])

    def _take_text_form(self, logical: str, carried: Keys) -> None:
        """Take the keywords that say how times are written, where a contract would write them so."""
        for key, value in time_keywords(
            logical, _text_form(logical, mapped(carried.get("logicalTypeOptions")))
        ).items():
            if self._left.get(key) == value:
                del self._left[key]
        if "format" in self._left and _TIMES.get(self._left["format"]) == logical and not carried:
            del self._left["format"]

    def _take_rules(self, kind: str) -> None:
        if self._left.get("format") in _WIDTHS.get(kind, ()):
            del self._left["format"]
        if kind in ("integer", "number"):
            self._take_end("minimum", whole=kind == "integer")
            self._take_end("maximum", whole=kind == "integer")
            self._take_multiple(whole=kind == "integer")
        if kind in ("string", "integer"):
            self._take_values(str if kind == "string" else int)
        if kind == "string":
            for key in ("minLength", "maxLength"):
                if key in self._left:
                    self._options[key] = int(self._left.pop(key))
            self._take_pattern()

    def _take_end(self, end: str, *, whole: bool) -> None:
        """Take one end of the range: the tighter one where two are stated, as a contract has one."""
        left, exclusive = self._left, f"exclusive{end.capitalize()}"
        if left.get(exclusive) is True and end in left:  # draft 4
            left[exclusive] = left.pop(end)
        elif isinstance(left.get(exclusive), bool):
            del left[exclusive]
        stated = {key: left[key] for key in (exclusive, end) if key in left}
        if whole:
            stated = {key: int(value) for key, value in stated.items() if value == int(value)}
        if stated:
            # Of two ends at one value the first, which leaves it out, is the tighter.
            key = (max if end == "minimum" else min)(stated, key=stated.__getitem__)
            self._options[key] = stated[key]
            self._left = {k: v for k, v in left.items() if k not in stated}

    def _take_multiple(self, *, whole: bool) -> None:
        step = self._left.get("multipleOf")
        if step is not None and (not whole or step == int(step)):
            self._options["multipleOf"] = int(step) if whole else step
            del self._left["multipleOf"]

    def _take_missing(self, carried: Keys) -> None:
        """Take the values that stand for none where the rules that were carried say the same."""
        said = mapped(self._left.get("not"))
        known = [value for rule in listed(carried.get("quality")) for value in missing_values(rule)]
        values = listed(said.get("enum"))
        if known and set(said) == {"enum"} and all(v in known for v in values) and all(v in values for v in known):
            del self._left["not"]

    def _take_values(self, kind: type) -> None:
        values = [v for v in self._left.get("enum", []) if v is not None]
        if values and all(isinstance(v, kind) and not isinstance(v, bool) for v in values):
            self._native["enum"] = [{"value": v} for v in dict.fromkeys(values)]
            del self._left["enum"]

    def _take_pattern(self) -> None:
        pattern = self._left.get("pattern")
        if pattern is None or not _executes(pattern):
            return
        self._options["pattern"] = self._left.pop("pattern")
        self._notes += _differences(pattern, f"{self._path}/pattern")


_TYPE_OF: dict[type, str] = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def _text_form(logical: str, options: Keys) -> TimeText | None:
    if (format := options.get("format")) is not None:
        try:
            return time_text(str(format), clock=logical == "timestamp")
        except ValueError:
            return None  # refused with its reason when the whole contract is read
    return ISO_TIMESTAMP_WITHOUT_ZONE if options.get("timezone") is False else None


def _executes(pattern: str) -> bool:
    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.ComputeError:
        return False
    return True


def _differences(pattern: str, path: str) -> Iterator[Note]:
    if not ecmascript.is_portable(pattern):
        yield Note(path, "taken over as it is, but not every regular expression reads it alike: see what it lets pass")
    elif vague := ecmascript.alphabets(pattern):
        yield Note(path, f"{', '.join(f'`{v}`' for v in vague)} are of ASCII in ECMAScript, of Unicode in a contract")
