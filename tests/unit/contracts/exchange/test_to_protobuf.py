"""The message of a contract compiles, and has presence for every column."""

import re

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from odcs_documents import descriptors

from raypipe.contracts.described import describe
from raypipe.contracts.exchange.to_protobuf import to_protobuf
from raypipe.errors import ContractError

CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: readings
version: 1.0.0
schema:
  - name: google
    customProperties: [{property: eventAt, value: at}]
    properties:
      - {name: sensor, logicalType: string, primaryKey: true, description: Which one.}
      - {name: at, logicalType: timestamp, required: true}
      - {name: google, logicalType: date}
      - {name: retries, logicalType: integer, logicalTypeOptions: {minimum: 0}}
      - {name: celsius, logicalType: number}
      - {name: armed, logicalType: boolean}
"""


def exported(text):
    return to_protobuf(describe(text, "readings.odcs.yaml"))


def message_of(text):
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(descriptors(exported(text).text)).file:
        pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("google_"))


def numbers(text):
    return {name: int(number) for name, number in re.findall(r"(\w+) = (\d+);", exported(text).text)}


def test_every_column_has_presence_and_a_row_goes_through():
    row = {"sensor": "s", "at": "2020-01-05T10:15:00Z", "google": {"year": 2020, "month": 1, "day": 5}, "retries": "0"}
    kind = message_of(CONTRACT)
    message = kind.FromString(json_format.ParseDict(row, kind()).SerializeToString())
    assert json_format.MessageToDict(message) == row, "a zero that was written is not lost, and nothing else appears"
    assert all(field.has_presence for field in kind.DESCRIPTOR.fields)


def test_the_comment_says_what_the_message_cannot():
    said = exported(CONTRACT)
    assert (
        '  // Which one.\n  // odcs: {"required": true, "primaryKey": true}\n  optional string sensor = 1;\n'
        in said.text
    )
    assert '// odcs: {"logicalTypeOptions": {"minimum": 0}}' in said.text
    assert {n.path for n in said.notes if "does not check" in n.text} == {"sensor", "at", "retries"}


def pin(column, number):
    at = f"name: {column}, "
    return at, f"{at}customProperties: [{{property: protobufNumber, value: {number}}}], "


def test_numbers_come_from_the_order_until_they_are_pinned():
    assert numbers(CONTRACT) == {"sensor": 1, "at": 2, "google": 3, "retries": 4, "celsius": 5, "armed": 6}
    pinned = CONTRACT.replace(*pin("celsius", 2)).replace(*pin("armed", 18_999))
    assert numbers(pinned) == {
        "sensor": 20_000,
        "at": 20_001,
        "google": 20_002,
        "retries": 20_003,
        "celsius": 2,
        "armed": 18_999,
    }
    loose = [n.path for n in exported(pinned).notes if "pin them" in n.text]
    assert loose == ["sensor, at, google, retries"]


@pytest.mark.parametrize("number", ["0", "19500", "536870912", "true", "seven"])
def test_a_number_that_protobuf_does_not_have_is_refused(number):
    with pytest.raises(ContractError, match="`protobufNumber` of `celsius` is"):
        exported(CONTRACT.replace(*pin("celsius", number)))


def test_one_number_for_two_columns_is_refused():
    with pytest.raises(ContractError, match="`protobufNumber` is 7 for `celsius` and another column"):
        exported(CONTRACT.replace(*pin("celsius", 7)).replace(*pin("armed", 7)))


def test_columns_that_are_one_in_protobufs_json_form_are_refused():
    text = CONTRACT.replace("name: celsius", "name: air_time").replace("name: armed", "name: airTime")
    with pytest.raises(ContractError, match="`air_time` and `airTime` are both `airTime`"):
        exported(text)
