"""A message that somebody else wrote becomes columns; what does not is said by its line, and what is nested refused."""

import pytest
from odcs_documents import descriptors

from raypipe.contracts.exchange.from_protobuf import read_protobuf
from raypipe.errors import ContractError

READINGS = """\
syntax = "proto3";
package plant;
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "google/type/date.proto";

enum Site { UNKNOWN = 0; NORTH = 1; }

// Readings of a machine,
// one a minute.
message Reading {
  reserved 3 to 5, 9;
  reserved "celsius";
  // Which one.
  string sensor = 1;
  google.protobuf.Timestamp at = 2;
  google.type.Date day = 7;
  google.protobuf.Int64Value retries = 8;
  Site site = 10;
  enum Mode { OFF = 0; ON = 1; }
  Mode mode = 11 [deprecated = true];
  optional fixed64 count = 12;
  optional float volts = 13;
  oneof state {
    bool armed = 14;
    string alarm = 15;
  }
}
"""


def read(text, message=None):
    return read_protobuf(descriptors(text), message, "readings.proto")


def test_scalars_and_well_known_messages_become_columns_that_pin_their_numbers():
    outline = read(READINGS)
    assert (outline.name, outline.description) == ("Reading", "Readings of a machine, one a minute.")
    columns = {keys["name"]: keys for keys in outline.columns}
    assert columns["sensor"]["description"] == "Which one."
    assert {name: keys["logicalType"] for name, keys in columns.items()} == {
        "sensor": "string",
        "at": "timestamp",
        "day": "date",
        "retries": "integer",
        "site": "string",
        "mode": "string",
        "count": "integer",
        "volts": "number",
        "armed": "boolean",
        "alarm": "string",
    }
    assert columns["site"]["enum"] == [{"value": "UNKNOWN"}, {"value": "NORTH"}]
    assert columns["mode"]["enum"] == [{"value": "OFF"}, {"value": "ON"}]
    pins = [keys["customProperties"] for keys in columns.values()]
    assert pins == [[{"property": "protobufNumber", "value": n}] for n in (1, 2, 7, 8, 10, 11, 12, 13, 14, 15)]
    assert not any(keys.get("required") for keys in columns.values())


def test_what_is_not_taken_over_is_said_by_its_line():
    assert [str(note) for note in read(READINGS).notes] == [
        "Reading: the package `plant` is not taken over",
        "Reading: that only one column of `oneof state` is there is not taken over",
        "Reading: `reserved 3 to 5, 9, celsius` is not taken over",
        "readings.proto:19: `site`: the numbers of the enum are not taken over, its names are the values",
        "readings.proto:21: `mode`: the numbers of the enum are not taken over, its names are the values",
        "readings.proto:21: `mode`: `deprecated` is not taken over",
        "readings.proto:22: `count`: a value above 2^63 - 1 is refused, an integer of a contract is signed",
    ]


def test_proto_2_says_what_is_required():
    text = 'syntax = "proto2"; message R { required string a = 1; optional int32 b = 2 [default = 7]; }'
    outline = read(text)
    assert [keys.get("required", False) for keys in outline.columns] == [True, False]
    assert [str(note) for note in outline.notes] == ["readings.proto:1: `b`: the default 7 is not taken over"]


@pytest.mark.parametrize(
    ("field", "what"),
    [
        ("Inner x = 1;", "Inner"),
        ("repeated string x = 1;", "repeated string"),
        ("map<string, int32> x = 1;", "repeated R.XEntry"),
        ("bytes x = 1;", "bytes"),
    ],
)
def test_what_is_no_scalar_is_refused_by_its_line(field, what):
    text = f'syntax = "proto3";\nmessage R {{\n  {field}\n}}\nmessage Inner {{}}\n'
    with pytest.raises(ContractError) as caught:
        read(text, "R")
    assert caught.value.message.startswith(f"readings.proto:3: the field `x` is {what}, and a column of a contract has")
    assert caught.value.line == 3


def test_of_several_messages_one_is_named():
    text = 'syntax = "proto3"; message A { string a = 1; } message B { string b = 1; }'
    with pytest.raises(ContractError, match=r"there are 2 messages \(A, B\)"):
        read(text)
    outline = read(text, "B")
    assert outline.name == "B"
    assert [str(note) for note in outline.notes] == ["B: other messages of the file are not taken over: A"]


def test_a_name_that_is_no_message_is_the_contracts():
    assert read('syntax = "proto3"; message A { string a = 1; }', "readings").name == "A"


def test_a_broken_line_of_keys_is_refused():
    with pytest.raises(ContractError, match="readings.proto:4: what stands after `odcs:` is not JSON"):
        read('syntax = "proto3";\nmessage R {\n  // odcs: {"required": tru\n  string a = 1;\n}\n')
