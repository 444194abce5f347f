"""A JSON Schema that somebody else wrote becomes columns; what does not is said by its pointer, what is nested refused."""

import json

import pytest

from raypipe.contracts.exchange.from_json_schema import read_json_schema
from raypipe.errors import ContractError


def read(properties, **more):
    schema = {"type": "object", "properties": properties, "required": list(properties), **more}
    return read_json_schema(json.dumps(schema), "readings.json")


def column(**keywords):
    outline = read({"x": keywords}, **{"$defs": {"Site": {"enum": ["north", "south"], "title": "Site"}}})
    (keys,) = outline.columns
    return {key: value for key, value in keys.items() if key != "name"}, [str(note) for note in outline.notes]


def values(*listed):
    return [{"value": value} for value in listed]


REQUIRED, OPTIONAL = {"required": True}, {"required": False}
STRING = {"logicalType": "string", **REQUIRED}


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"type": "string"}, STRING),
        ({"type": "string", "minLength": 1, "maxLength": 2.0}, {**STRING, "logicalTypeOptions": {"minLength": 1, "maxLength": 2}}),
        ({"type": "string", "pattern": "^a"}, {**STRING, "logicalTypeOptions": {"pattern": "^a"}}),
        ({"type": "string", "format": "date"}, {"logicalType": "date", **REQUIRED}),
        ({"type": "string", "format": "date-time"}, {"logicalType": "timestamp", **REQUIRED}),
        ({"type": "integer", "format": "int64"}, {"logicalType": "integer", **REQUIRED}),
        ({"type": "integer", "multipleOf": 2.0}, {"logicalType": "integer", "logicalTypeOptions": {"multipleOf": 2}, **REQUIRED}),
        ({"type": ["integer", "number"]}, {"logicalType": "number", **REQUIRED}),
        ({"type": "integer", "minimum": 1.0}, {"logicalType": "integer", "logicalTypeOptions": {"minimum": 1}, **REQUIRED}),
        (
            {"type": "number", "minimum": 1, "exclusiveMinimum": 1, "maximum": 2, "exclusiveMaximum": 3},
            {"logicalType": "number", "logicalTypeOptions": {"exclusiveMinimum": 1, "maximum": 2}, **REQUIRED},
        ),
        ({"type": "integer", "enum": [1, 2]}, {"logicalType": "integer", "enum": values(1, 2), **REQUIRED}),
        ({"const": "a"}, {**STRING, "enum": values("a")}),
        ({"$ref": "#/$defs/Site"}, {**STRING, "enum": values("north", "south"), "businessName": "Site"}),
        ({"allOf": [{"$ref": "#/$defs/Site"}], "title": "Where"}, {**STRING, "enum": values("north", "south"), "businessName": "Where"}),
        ({"type": "boolean", "description": "Armed.", "examples": [True], "deprecated": True}, {"logicalType": "boolean", "description": "Armed.", "examples": [True], "deprecated": True, **REQUIRED}),
    ],
)  # fmt: skip
def test_a_scalar_becomes_a_column(keywords, said):
    assert column(**keywords) == (said, [])


@pytest.mark.parametrize(
    "keywords",
    [
        {"type": ["string", "null"]},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
        {"type": "string", "nullable": True},
        {"type": ["string", "null"], "enum": ["a", None]},
    ],
)
def test_what_may_be_null_is_optional_and_what_a_contract_does_not_tell_apart_is_said(keywords):
    keys, notes = column(**keywords)
    assert keys["required"] is False
    assert keys.get("enum", values("a")) == values("a")
    assert notes == ["#/properties/x: may be absent too: a contract does not tell null from absent"]


def test_a_null_that_the_values_leave_out_is_none():
    assert column(type=["string", "null"], enum=["a"])[0]["required"] is True


def test_bounds_of_draft_4_are_read():
    text = json.dumps(
        {
            "$schema": "http://json-schema.org/draft-04/schema#",
            "type": "object",
            "required": ["x"],
            "properties": {
                "x": {
                    "type": "integer",
                    "minimum": 1,
                    "exclusiveMinimum": True,
                    "maximum": 3,
                    "exclusiveMaximum": False,
                }
            },
        }
    )
    (keys,) = read_json_schema(text, "old.json").columns
    assert keys["logicalTypeOptions"] == {"exclusiveMinimum": 1, "maximum": 3}


def test_what_is_not_taken_over_is_said_by_its_pointer():
    outline = read(
        {
            "a/b~c": {"type": "string", "format": "email", "pattern": "(?!x)", "default": "a"},
            "n": {"type": "number", "not": {"enum": [7]}, "enum": [1.5], "minimum": 0},
            "i": {"type": "integer", "minimum": 0.5, "multipleOf": 1.5},
            "d": {"type": "string", "format": "date", "pattern": "^2"},
            "p": {"type": "string", "pattern": r"^\d(?<n>x)"},
            "q": {"type": "string", "pattern": r"^\d"},
        },
        required=["a/b~c", "n", "i", "d", "p", "q", "gone"],
        additionalProperties=False,
    )
    assert [str(note) for note in outline.notes] == [
        "#/additionalProperties: not taken over",
        "#/required/6: no property is `gone`",
        "#/properties/a~1b~0c/format: `email` is not taken over",
        "#/properties/a~1b~0c/pattern: `(?!x)` is not taken over",
        "#/properties/a~1b~0c/default: `a` is not taken over",
        "#/properties/n/not: `{'enum': [7]}` is not taken over",
        "#/properties/n/enum: `[1.5]` is not taken over",
        "#/properties/i/minimum: `0.5` is not taken over",
        "#/properties/i/multipleOf: `1.5` is not taken over",
        "#/properties/d/pattern: `^2` is not taken over",
        "#/properties/p/pattern: taken over as it is, but not every regular expression reads it alike: see what it lets pass",
        r"#/properties/q/pattern: `\d` are of ASCII in ECMAScript, of Unicode in a contract",
    ]


def test_a_pattern_that_was_carried_with_a_time_and_then_changed_is_said():
    carried = {"logicalType": "date", "logicalTypeOptions": {"format": "dd.MM.yyyy"}}
    written = {"type": "string", "pattern": r"^[0-9]{2}\.[0-9]{2}\.[0-9]{4}$", "x-odcs": carried}
    assert column(**written) == ({**carried, **REQUIRED}, [])
    assert column(**{**written, "pattern": "^0"})[1] == ["#/properties/x/pattern: `^0` is not taken over"]


@pytest.mark.parametrize(
    ("keywords", "what"),
    [
        ({"type": "object"}, "the type is object"),
        ({"type": "array", "items": {"type": "string"}}, "the type is array"),
        ({"type": ["string", "integer"]}, "the type is string or integer"),
        ({"type": "null"}, "the type is not said"),
        ({}, "the type is not said"),
        ({"enum": [None]}, "the type is not said"),
        ({"enum": ["a", 1]}, "the type is integer or string"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "`anyOf` of 2 schemas is no one type"),
        ({"$ref": "other.json#/x"}, "`$ref` points to `other.json#/x`, out of the file"),
        ({"$ref": "#/$defs/Nowhere"}, "`$ref` points to `#/$defs/Nowhere`, where there is no schema"),
        ({"$ref": "#/properties/x"}, "`$ref` leads round in a circle"),
    ],
)
def test_what_is_no_scalar_is_refused_by_its_pointer(keywords, what):
    with pytest.raises(ContractError) as caught:
        column(**keywords)
    assert caught.value.message.startswith(f"readings.json: #/properties/x: {what}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{\n", "readings.json:2: this is not JSON"),
        ('{"type": 5}', "this is not a JSON Schema: \\$.type"),
        ('{"properties": {"x": {"minLength": -1}}}', "not a JSON Schema: \\$.properties.x.minLength"),
        ("true", "this schema is True"),
        ('{"type": "string"}', "not the schema of an object with `properties`"),
        ('{"type": "object"}', "not the schema of an object with `properties`"),
    ],
)
def test_what_is_no_schema_of_an_object_is_refused(text, said):
    with pytest.raises(ContractError, match=said):
        read_json_schema(text, "readings.json")
