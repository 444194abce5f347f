"""An Avro schema that somebody else wrote becomes columns; what does not is said, and what is nested refused."""

import json

import pytest

from raypipe.contracts.exchange.from_avro import read_avro_schema
from raypipe.errors import ContractError


def read(*fields, **record):
    schema = {"type": "record", "name": "readings", "fields": list(fields), **record}
    return read_avro_schema(json.dumps(schema), "readings.avsc")


def column(type_, **more):
    (keys,) = read({"name": "x", "type": type_, **more}).columns
    return {key: value for key, value in keys.items() if key != "name"}


def logical(base, name, **more):
    return {"type": base, "logicalType": name, **more}


@pytest.mark.parametrize(
    ("type_", "said"),
    [
        ("int", {"logicalType": "integer", "required": True}),
        (["null", "float"], {"logicalType": "number", "required": False}),
        (["boolean", "null"], {"logicalType": "boolean", "required": False}),
        ({"type": "string", "avro.java.string": "String"}, {"logicalType": "string", "required": True}),
        (logical("long", "timestamp-millis"), {"logicalType": "timestamp", "required": True}),
        (logical("int", "date"), {"logicalType": "date", "required": True}),
        (
            logical("long", "local-timestamp-micros"),
            {"logicalType": "timestamp", "logicalTypeOptions": {"timezone": False}, "required": True},
        ),
        (logical("bytes", "decimal", precision=4, scale=2), {"logicalType": "number", "required": True}),
        (logical("string", "uuid"), {"logicalType": "string", "required": True}),
        (logical("string", "iso-country"), {"logicalType": "string", "required": True}),
        (
            {"type": "enum", "name": "Site", "symbols": ["north", "south"]},
            {"logicalType": "string", "required": True, "enum": [{"value": "north"}, {"value": "south"}]},
        ),
    ],
)
def test_a_scalar_becomes_a_column(type_, said):
    assert column(type_) == said


def test_a_type_that_was_named_before_is_known_again():
    site = {"type": "enum", "name": "Site", "symbols": ["north"]}
    first, second = read(
        {"name": "a", "type": site}, {"name": "b", "type": ["null", "plant.Site"]}, namespace="plant"
    ).columns
    assert first["enum"] == second["enum"] == [{"value": "north"}]


@pytest.mark.parametrize(
    ("type_", "what"),
    [
        ({"type": "record", "name": "Place", "fields": []}, "record"),
        ({"type": "array", "items": "int"}, "array"),
        (["null", {"type": "map", "values": "int"}], "map"),
        (["string", "int"], "a union of 2 types"),
        ("bytes", "bytes"),
        (logical("int", "time-millis"), "time-millis in int"),
        ("null", "null"),
    ],
)
def test_what_is_no_scalar_is_refused(type_, what):
    with pytest.raises(ContractError, match=f"the field `x` is {what}, and a column of a contract has one scalar type"):
        column(type_)


def test_what_is_not_taken_over_is_said():
    outline = read(
        {"name": "a", "type": logical("bytes", "decimal", precision=4, scale=2), "aliases": ["b"]},
        {"name": "c", "type": logical("string", "iso-country"), "default": "NO"},
        {"name": "d", "type": ["null", "int"], "default": None, "order": "ignore"},
        {"name": "e", "type": logical("long", "timestamp-nanos")},
        namespace="plant",
        aliases=["others"],
    )
    assert [str(note) for note in outline.notes] == [
        "readings: the namespace `plant` is not taken over",
        "readings: `aliases` is not taken over",
        "a: the digits of the decimal are not taken over: a number has 64 bits",
        "a: `aliases` is not taken over",
        "c: the logical type `iso-country` is not taken over",
        "c: `default` is not taken over",
        "d: `order` is not taken over",
        "e: times with nanoseconds are refused when they are read",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "readings.avsc:1: this is not JSON"),
        ('{"type": "record", "name": "r", "fields": [{"name": "x", "type": "Foo"}]}', "not an Avro schema: .*Foo"),
        ('{"type": "record", "name": "r", "fields": 5}', "not an Avro schema"),
        ('{"type": "record", "name": "r", "fields": [{"name": "x", "type": 5}]}', "not an Avro schema"),
        ("5", "not an Avro schema"),
        ("{}", "not an Avro schema"),
        ('"string"', "its rows are not records|rows of this schema are not records"),
        ('["null"]', "rows of this schema are not records"),
    ],
)
def test_what_is_no_schema_of_a_record_is_refused(text, said):
    with pytest.raises(ContractError, match=said):
        read_avro_schema(text, "readings.avsc")
