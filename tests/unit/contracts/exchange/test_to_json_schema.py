"""The JSON Schema of a contract accepts the rows that the contract accepts, as far as JSON Schema has rules."""

import json
from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker
from odcs_documents import documents, pairs

from raypipe.contracts.checks import check
from raypipe.contracts.described import describe
from raypipe.contracts.evolution import Mode, compatible
from raypipe.contracts.exchange import ecmascript
from raypipe.contracts.exchange.to_json_schema import KEYWORD, to_json_schema
from raypipe.contracts.formats import read_rows
from raypipe.contracts.readers import Rules
from raypipe.contracts.times import ISO_DATE

VALUES = {
    "string": st.sampled_from(["", "a", "b", "ab", "AB", "a b", "42", "north", "x.x"]),
    "int64": st.integers(-4, 4) | st.sampled_from([1.0, 1.5]),
    "double": st.integers(-8, 8).map(lambda n: n / 2) | st.integers(-3, 3),
    "bool": st.booleans(),
    "date32[day]": st.sampled_from(["2020-01-05", "05.01.2020", "2020-01-05T00:00:00Z", "2020-1-5", "2020-13-05"]),
    "timestamp[us, tz=UTC]": st.sampled_from(
        ["2020-01-05T10:15:00Z", "2020-01-05 10:15", "2020-01-05T10:15:00", "2020-01-05T10:15:00.123+01:00", "10:15"]
    ),
}
ANY = st.one_of(*VALUES.values(), st.none(), st.just([1]), st.just({"a": 1}))


def schema_of(described):
    schema = json.loads(to_json_schema(described).text)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=FormatChecker(["date"]))


def only_what_json_schema_holds(described):
    """Return the contract without ranges of times and patterns of one engine only."""
    fields = [
        replace(
            field,
            minimum=None if "date" in str(field.type) or "time" in str(field.type) else field.minimum,
            maximum=None if "date" in str(field.type) or "time" in str(field.type) else field.maximum,
            pattern=field.pattern if field.pattern and ecmascript.is_portable(field.pattern) else None,
        )
        for field in described.contract.fields
    ]
    return replace(described.contract, fields=tuple(fields))


@st.composite
def rows(draw, contract):
    row = {"sensor": "s", "at": "2020-01-05T10:15:00Z"}
    for field in contract.fields:
        if field.name not in row and draw(st.integers(0, 9)):
            usual = draw(st.integers(0, 4))
            row[field.name] = draw(VALUES[str(field.type)] if usual else ANY)
    return row


@given(documents(), st.data())
def test_a_row_is_valid_exactly_when_the_contract_accepts_it(text, data):
    described = describe(text, "a contract")
    contract, row = only_what_json_schema_holds(described), data.draw(rows(described.contract))
    accepted = check(read_rows(orjson.dumps(row), "jsonl"), contract).accepted.num_rows == 1
    # A text form of its own is held as its pattern, and a pattern does not know that there is no thirteenth month.
    impossible = any(f.text not in (None, ISO_DATE) and "13" in str(row.get(f.name)) for f in contract.fields)
    valid = schema_of(described).is_valid(row)
    assert valid == accepted or (impossible and valid)


@given(pairs(), st.data())
def test_who_reads_by_the_rules_of_json_schema_finds_the_writers_rows_valid(pair, data):
    writer, reader = (describe(text, "a contract") for text in pair)
    row = data.draw(rows(writer.contract))
    if compatible([writer.contract], reader.contract, Mode.BACKWARD, Rules.JSON_SCHEMA) and schema_of(writer).is_valid(
        row
    ):
        assert schema_of(reader).is_valid(row)


CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: readings
version: 1.0.0
description: {purpose: readings of a machine}
schema:
  - name: readings
    customProperties: [{property: eventAt, value: at}]
    quality: [{type: text, description: one row a minute}]
    properties:
      - {name: sensor, logicalType: string, primaryKey: true, classification: public, businessName: Sensor}
      - {name: at, logicalType: timestamp, required: true, logicalTypeOptions: {minimum: "2020-01-01T00:00:00Z"}}
      - {name: day, logicalType: date, logicalTypeOptions: {format: dd.MM.yyyy}}
      - {name: celsius, logicalType: number, logicalTypeOptions: {exclusiveMinimum: -273.15}, examples: [20.5]}
      - {name: code, logicalType: string, logicalTypeOptions: {pattern: "(?i)^a"}}
      - {name: site, logicalType: string, enum: [{value: n, label: north}], logicalTypeOptions: {pattern: '\\w'}}
"""


def test_a_schema_says_natively_what_it_can_and_carries_the_rest():
    exported = to_json_schema(describe(CONTRACT, "readings.odcs.yaml"))
    schema = json.loads(exported.text)
    properties = schema["properties"]
    assert (schema["title"], schema["description"]) == ("readings", "readings of a machine")
    assert schema["required"] == ["sensor", "at"]
    assert properties["sensor"]["title"] == "Sensor"
    assert properties["sensor"][KEYWORD] == {"primaryKey": True, "classification": "public"}
    assert properties["at"]["format"] == "date-time"
    assert "format" not in properties["day"]
    assert properties["celsius"] == {"type": ["number", "null"], "examples": [20.5], "exclusiveMinimum": -273.15}
    assert properties["code"] == {"type": ["string", "null"], KEYWORD: {"logicalTypeOptions": {"pattern": "(?i)^a"}}}
    assert properties["site"]["enum"] == ["n", None]
    assert properties["site"][KEYWORD] == {"enum": [{"value": "n", "label": "north"}]}
    assert schema[KEYWORD]["schema"]["customProperties"] == [{"property": "eventAt", "value": "at"}]


def test_what_a_validator_does_not_check_is_said():
    notes = {n.path: n.text for n in to_json_schema(describe(CONTRACT, "readings.odcs.yaml")).notes}
    assert "`minimum`" in notes["at"]
    assert "`pattern`" in notes["code"]
    assert r"`\w` of the pattern" in notes["site"]
    assert "`quality`" in notes["readings"]
    assert notes.keys() == {"at", "day", "code", "site", "readings"}


@pytest.mark.parametrize("bad", ["2020-02-30", "2020-13-01"])
def test_a_day_that_is_none_needs_a_validator_that_looks_at_formats(bad):
    described = describe(CONTRACT.replace(", logicalTypeOptions: {format: dd.MM.yyyy}", ""), "readings.odcs.yaml")
    row = {"sensor": "s", "at": "2020-01-05T10:15:00Z", "day": bad}
    schema = json.loads(to_json_schema(described).text)
    assert Draft202012Validator(schema).is_valid(row)
    assert not schema_of(described).is_valid(row)
