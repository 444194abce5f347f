"""A contract that was exported is imported as it was: everything that its file says, in canonical form."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from odcs_documents import descriptors, documents

from raypipe.contracts.described import describe, write_odcs
from raypipe.contracts.exchange.assemble import Wanted, assemble
from raypipe.contracts.exchange.carried import PROTOBUF_NUMBER, to_odcs
from raypipe.contracts.exchange.from_avro import read_avro_schema
from raypipe.contracts.exchange.from_json_schema import read_json_schema
from raypipe.contracts.exchange.from_protobuf import read_protobuf
from raypipe.contracts.exchange.to_avro import to_avro
from raypipe.contracts.exchange.to_json_schema import to_json_schema
from raypipe.contracts.exchange.to_protobuf import to_protobuf

IDENTIFIERS = st.sampled_from(["x", "y", "air_time", "google", "message", "_"])


def imported(outline):
    return assemble(outline, Wanted(), "exported").text


def canonical(text):
    return to_odcs(describe(text, "a contract")).text


@settings(max_examples=50)
@given(documents())
def test_the_canonical_form_means_the_same_and_is_its_own(text):
    once = canonical(text)
    assert describe(once, "a contract").contract == describe(text, "a contract").contract
    assert canonical(once) == once


@settings(max_examples=50)
@given(documents())
def test_json_schema_gives_back_everything(text):
    exported = to_json_schema(describe(text, "a contract")).text
    assert imported(read_json_schema(exported, "exported")) == canonical(text)


@settings(max_examples=50)
@given(documents(IDENTIFIERS))
def test_avro_gives_back_everything(text):
    exported = to_avro(describe(text, "a contract")).text
    assert imported(read_avro_schema(exported, "exported")) == canonical(text)


@settings(max_examples=50)
@given(documents(IDENTIFIERS))
def test_protobuf_gives_back_everything_and_pins_the_field_numbers(text):
    described = describe(text, "a contract")
    exported = to_protobuf(described).text
    back = imported(read_protobuf(descriptors(exported), None, "exported"))
    assert without_pins(back) == canonical(text)
    numbers = re.findall(r"= (\d+);", exported)
    assert re.findall(r"= (\d+);", to_protobuf(describe(back, "back")).text) == numbers


def without_pins(text):
    """Return a contract without the field numbers, of which every column has one."""
    described = describe(text, "back")
    properties = []
    for keys in (column.stated for column in described.columns):
        others = [custom for custom in keys["customProperties"] if custom["property"] != PROTOBUF_NUMBER]
        assert len(others) == len(keys["customProperties"]) - 1
        properties.append({**keys, "customProperties": others or None})
    return write_odcs(described.stated, described.schema, properties)
