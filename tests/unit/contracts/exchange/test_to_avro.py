"""The Avro schema of a contract takes the rows that the contract accepts, as far as Avro has rules."""

import io
import json
from dataclasses import replace
from datetime import UTC, date, datetime

import fastavro
import orjson
import pytest
from fastavro.validation import validate
from hypothesis import given
from hypothesis import strategies as st
from odcs_documents import documents, pairs

from raypipe.contracts.checks import check
from raypipe.contracts.described import describe
from raypipe.contracts.evolution import Mode, compatible
from raypipe.contracts.exchange.to_avro import ATTRIBUTE, to_avro
from raypipe.contracts.formats import read_rows
from raypipe.contracts.readers import Rules, symbols
from raypipe.errors import ContractError

IDENTIFIERS = st.sampled_from(["x", "y", "air_time", "google", "_"])
NOON = datetime(2020, 1, 5, 12, tzinfo=UTC)
VALUES = {
    "string": st.sampled_from(["", "a", "b", "ab", "north"]),
    "int64": st.integers(-4, 4),
    "double": st.integers(-8, 8).map(lambda n: n / 2),
    "bool": st.booleans(),
    "date32[day]": st.just(date(2020, 1, 5)),
    "timestamp[us, tz=UTC]": st.just(NOON),
}


def schema_of(described):
    return fastavro.parse_schema(json.loads(to_avro(described).text), named_schemas={})


def only_what_avro_holds(contract):
    return replace(
        contract,
        fields=tuple(
            replace(
                field,
                minimum=None,
                maximum=None,
                min_length=None,
                max_length=None,
                pattern=None,
                text=None,
                valid_values=symbols(field),
                multiple_of=None,
                missing_values=None,
            )
            for field in contract.fields
        ),
    )


def written(value):
    """Return a value as a line of JSON has it."""
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, date) else value


@st.composite
def rows(draw, contract, *, right=False):
    """Return a row with a value of the right type, none, or, unless they shall be right, one of another type."""
    row = {}
    for field in contract.fields:
        kind = str(field.type)
        others = [k for k in VALUES if k != kind and (k, kind) != ("int64", "double") and "time" not in kind + k]
        values = st.sampled_from(symbols(field) or ("a",)) if right and kind == "string" else VALUES[kind]
        # A whole fraction is an integer to a contract, and a double to Avro; a time is text in JSON.
        strange = [VALUES[k] for k in others if k not in ("double", "date32[day]") and kind != "date32[day]"]
        if not right and strange and draw(st.integers(0, 9)) == 0 and field.name not in ("sensor", "at"):
            values = st.one_of(*strange)
        nullable = not (right and field.required) and field.name not in ("sensor", "at")
        row[field.name] = draw(values | st.none() if nullable else values)
    return row


@given(documents(IDENTIFIERS), st.data())
def test_avro_takes_a_row_exactly_when_the_contract_does(text, data):
    described = describe(text, "a contract")
    row = data.draw(rows(described.contract))
    line = orjson.dumps({name: written(value) for name, value in row.items()})
    accepted = check(read_rows(line, "jsonl"), only_what_avro_holds(described.contract)).accepted.num_rows == 1
    assert validate(row, schema_of(described), raise_errors=False) == accepted


@given(documents(IDENTIFIERS), st.data())
def test_a_file_of_the_schema_is_read_under_the_contract(text, data):
    described = describe(text, "a contract")
    row = data.draw(rows(described.contract, right=True))
    file = io.BytesIO()
    fastavro.writer(file, schema_of(described), [row])
    accepted = check(read_rows(file.getvalue(), "avro"), only_what_avro_holds(described.contract)).accepted
    assert accepted.to_pylist() == [row]


@given(pairs(), st.data())
def test_who_reads_by_the_rules_of_avro_reads_what_the_writer_wrote(pair, data):
    writer, reader = (describe(text, "a contract") for text in pair)
    if not compatible([writer.contract], reader.contract, Mode.BACKWARD, Rules.AVRO):
        return
    row, message = data.draw(rows(writer.contract, right=True)), io.BytesIO()
    fastavro.schemaless_writer(message, schema_of(writer), row)
    message.seek(0)
    read = fastavro.schemaless_reader(message, schema_of(writer), schema_of(reader))
    assert read == row


CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: readings
version: 1.0.0
schema:
  - name: flight-readings
    description: Readings of a machine.
    customProperties: [{property: eventAt, value: at}]
    properties:
      - {name: sensor, logicalType: string, primaryKey: true, description: Which one.}
      - {name: at, logicalType: timestamp, required: true}
      - {name: day, logicalType: date}
      - {name: site, logicalType: string, enum: [{value: north}, {value: south}]}
      - {name: code, logicalType: string, enum: [{value: "a b"}]}
      - {name: celsius, logicalType: number, logicalTypeOptions: {maximum: 2000}}
"""


def test_a_schema_is_what_the_rules_for_readers_say():
    exported = to_avro(describe(CONTRACT, "readings.odcs.yaml"))
    schema = json.loads(exported.text)
    fields = {field["name"]: field for field in schema["fields"]}
    assert (schema["name"], schema["doc"]) == ("flight_readings", "Readings of a machine.")
    assert schema[ATTRIBUTE]["schema"]["name"] == "flight-readings"
    assert fields["sensor"] == {
        "name": "sensor",
        "doc": "Which one.",
        "type": "string",
        ATTRIBUTE: {"primaryKey": True},
    }
    assert fields["at"]["type"] == {"type": "long", "logicalType": "timestamp-micros"}
    assert "default" not in fields["at"]
    assert fields["day"]["type"] == ["null", {"type": "int", "logicalType": "date"}]
    assert fields["day"]["default"] is None
    assert fields["site"]["type"][1]["symbols"] == ["north", "south"]
    assert fields["code"]["type"] == ["null", "string"], "an enum has names, and `a b` is none"
    assert fields["celsius"][ATTRIBUTE] == {"logicalTypeOptions": {"maximum": 2000}}
    assert [(n.path, "`maximum`" in n.text, "`enum`" in n.text) for n in exported.notes] == [
        ("code", False, True),
        ("celsius", True, False),
    ]


def test_a_column_that_avro_cannot_name_is_refused():
    with pytest.raises(ContractError, match="the column `air time` cannot be written in Avro"):
        to_avro(describe(CONTRACT.replace("name: celsius", "name: air time"), "readings.odcs.yaml"))


def test_what_json_cannot_say_is_refused():
    text = CONTRACT.replace("logicalType: date}", "logicalType: date, examples: [.nan]}")
    with pytest.raises(ContractError, match="a value that JSON cannot say"):
        to_avro(describe(text, "readings.odcs.yaml"))
