"""A JSON Schema document, and the one schema that a property comes to where it points elsewhere or may be null.

Knows `$ref` within the document, and `anyOf`, `oneOf` and `allOf` of one schema. Does not know what a schema means.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import SchemaError
from jsonschema.validators import validator_for

from raypipe.contracts.described import mapped
from raypipe.errors import ContractError

_LONGEST_CHAIN = 50  # one that is longer goes round in a circle


@dataclass(frozen=True, slots=True, eq=False)
class SchemaDocument:
    """A JSON Schema, and the name of its file for messages."""

    content: Mapping[str, Any]
    file: str

    @staticmethod
    def of(text: str, file: str) -> SchemaDocument:
        """Return the document, which is a schema by the draft that it names.

        Raises
        ------
        ContractError
            When it is not.
        """
        try:
            schema = json.loads(text)
            # Patterns are ECMAScript's, and Python would refuse some.
            validator_for(schema, default=Draft202012Validator).check_schema(schema, format_checker=FormatChecker([]))
        except json.JSONDecodeError as error:
            message = f"{file}:{error.lineno}: this is not JSON: {error.msg}"
            raise ContractError(message, file=file, line=error.lineno, key="") from error
        except SchemaError as error:
            message = f"{file}: this is not a JSON Schema: {error.json_path}: {error.message}"
            raise ContractError(message, file=file, line=None, key=error.json_path) from error
        if not isinstance(schema, dict):
            raise ContractError(
                f"{file}: this schema is {schema}: give that of an object", file=file, line=None, key=""
            )
        return SchemaDocument(schema, file)

    def error(self, path: str, text: str) -> ContractError:
        """Return the error that points there."""
        return ContractError(f"{self.file}: {path}: {text}", file=self.file, line=None, key=path)

    def resolved(self, schema: object, path: str) -> dict[str, Any]:
        """Return the schema with what it points to in it.

        Parameters
        ----------
        schema
            A schema of the document; null beside one other schema becomes `null` in its `type`.
        path
            Where it stands.

        Raises
        ------
        ContractError
            When it points out of the document, round in a circle, or to several schemas.
        """
        found, nullable = mapped(schema), False
        for _ in range(_LONGEST_CHAIN):
            if "$ref" in found:
                found = {**self._at(found.pop("$ref"), path), **found}
                continue
            combined = next((key for key in ("allOf", "anyOf", "oneOf") if key in found), None)
            if combined is None:
                return _or_null(found) if nullable else found
            parts = [mapped(p) for p in found.pop(combined)]
            others = parts if combined == "allOf" else [p for p in parts if p.get("type") != "null"]
            if len(others) != 1:
                raise self.error(path, f"`{combined}` of {len(parts)} schemas is no one type: give the column one")
            nullable = nullable or len(others) < len(parts)
            found = {**others[0], **found}
        raise self.error(path, "`$ref` leads round in a circle: a column has no parts")

    def _at(self, reference: str, path: str) -> dict[str, Any]:
        if not reference.startswith("#"):
            raise self.error(path, f"`$ref` points to `{reference}`, out of the file: write that into `$defs`")
        here: object = self.content
        for part in reference.removeprefix("#").split("/")[1:]:
            here = mapped(here).get(part.replace("~1", "/").replace("~0", "~"))
        if not isinstance(here, Mapping):
            raise self.error(path, f"`$ref` points to `{reference}`, where there is no schema")
        return dict(here)


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    types = schema.get("type", [])
    values = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return {
        **schema,
        **({"type": [*(types if isinstance(types, list) else [types]), "null"]} if types else {}),
        **values,
    }
