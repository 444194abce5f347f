"""Messages: each is a row or malformed, whatever it was read with."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.contracts.messages import LARGEST_BYTES, AvroRows, Codec, JsonRows, read_messages
from raypipe.contracts.protobuf import ProtobufRows
from raypipe.contracts.rows import LINE, ROW

JSON = Codec(JsonRows())
AVRO = {
    "type": "record",
    "name": "ride",
    "fields": [{"name": "ride", "type": "string"}, {"name": "fare", "type": ["null", "double"]}],
}
PROTO = """
syntax = "proto3";
package rides;
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
message Ride {
  enum Kind { UNKNOWN = 0; SHARED = 1; }
  string ride = 1;
  google.protobuf.Timestamp at = 2;
  optional double fare = 3;
  int64 passengers = 4;
  Kind kind = 5;
  repeated string stops = 6;
  google.protobuf.StringValue city = 7;
}
"""


def read(values, codec=JSON):
    """Return what became of each value: its columns, or why it is malformed and its payload."""
    rows = read_messages(values, codec)
    found = {r["row"]: (r["reason"], r["raw"]) for r in rows.malformed.to_pylist()}
    for part in rows.parts:
        for row in part.frame.to_dicts():
            found[row[ROW]] = {k: v for k, v in row.items() if k not in (ROW, LINE) and v is not None}
    assert sorted(found) == list(range(len(values)))
    return [found[i] for i in range(len(values))]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b'\n{"a":\r\n 1}\n', {"a": 1}),
        (None, ("malformed(tombstone)", "")),
        (b"", ("malformed(tombstone)", "")),
        (b" \n", ("malformed(json)", " \n")),
        (b"nope", ("malformed(json)", "nope")),
        (b'{"a": 1}{"a": 2}', ("malformed(json)", '{"a": 1}{"a": 2}')),
        (b'{"a": 1}\n{"a": 2}', ("malformed(json)", '{"a": 1}\n{"a": 2}')),
        (b'{"a": "x\ny"}', ("malformed(json)", '{"a": "x\ny"}')),
        (b"[1]", ("malformed(object)", "[1]")),
        (b"\xef\xbb\xbf{}", ("malformed(json)", "\ufeff{}")),
        (b"\xff\x00", ("malformed(encoding)", "base64:/wA=")),
    ],
)
def test_a_message_is_one_json_object_or_a_dead_letter_with_its_payload(value, expected):
    assert read([b'{"a": 0}', value, b'{"a": 2}'])[1] == expected
    assert read([value]) == [expected]


values = st.one_of(
    st.none(),
    st.binary(max_size=12),
    st.dictionaries(st.sampled_from("ab"), st.one_of(st.integers(-9, 9), st.text(max_size=3), st.none())).map(
        lambda d: json.dumps(d).encode()
    ),
    st.sampled_from([b"{}", b"\n", b'{"a":\n1}', b'{"a": 1.5}', b"\xef\xbb\xbf{}"]),
)


@given(st.lists(values, max_size=8))
def test_what_becomes_of_a_message_does_not_depend_on_the_others(batch):
    assert read(batch) == [read([value])[0] for value in batch]


def test_a_message_that_is_too_large_is_a_dead_letter():
    large = b'{"a": "' + b"x" * LARGEST_BYTES + b'"}'
    assert read([large, b'{"a": 1}']) == [("malformed(size)", large.decode()), {"a": 1}]


def avro(row):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(AVRO), row)
    return out.getvalue()


def test_a_plain_avro_datum_is_a_row_and_one_that_is_cut_or_too_long_is_not():
    codec = Codec(AvroRows.of(json.dumps(AVRO).encode()))
    good = avro({"ride": "r1", "fare": 2.5})
    assert read([good, good[:-1], good + b"\x00", avro({"ride": "r2", "fare": None}), None], codec) == [
        {"ride": "r1", "fare": 2.5},
        ("malformed(avro)", read([good[:-1]], codec)[0][1]),
        ("malformed(avro)", read([good + b"\x00"], codec)[0][1]),
        {"ride": "r2"},
        ("malformed(tombstone)", ""),
    ]


def test_with_a_schema_id_only_messages_that_carry_it_are_rows():
    codec = Codec(AvroRows.of(json.dumps(AVRO).encode()), schema_id=7)
    good = avro({"ride": "r1", "fare": 2.5})
    header = b"\x00" + (7).to_bytes(4, "big")
    other = b"\x00" + (8).to_bytes(4, "big")
    found = read([header + good, other + good, good, b"\x00\x00"], codec)
    assert found[0] == {"ride": "r1", "fare": 2.5}
    assert [f[0] for f in found[1:]] == ["malformed(schema_id)", "malformed(header)", "malformed(header)"]


@pytest.fixture(scope="module")
def rides(tmp_path_factory):
    root = tmp_path_factory.mktemp("proto")
    (root / "rides.proto").write_text(PROTO)
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={root}", "--include_imports"]
    subprocess.run([*command, f"--descriptor_set_out={root / 'out'}", "rides.proto"], check=True)
    return ProtobufRows((root / "out").read_bytes(), "rides.Ride")


def test_a_protobuf_message_is_a_row_with_times_presence_and_names(rides):
    message = rides._class(ride="r1", fare=0.0, passengers=2, kind=1, stops=["a"])
    message.at.FromJsonString("2020-01-02T03:04:05.000006Z")
    message.city.value = "lima"
    bare = rides._class(ride="r2", kind=9)
    (one, two) = read([message.SerializeToString(), bare.SerializeToString()], Codec(rides))
    assert one.pop("at").isoformat() == "2020-01-02T03:04:05.000006+00:00"
    assert one == {"ride": "r1", "fare": 0.0, "passengers": 2, "kind": "SHARED", "stops": b"", "city": "lima"}
    assert two == {"ride": "r2", "passengers": 0, "kind": "9"}


def test_a_protobuf_message_that_is_broken_or_whose_time_would_be_rounded_is_a_dead_letter(rides):
    nanos = rides._class(ride="r1")
    nanos.at.nanos = 1
    found = read([b"\x0a\xff", nanos.SerializeToString()], Codec(rides))
    assert [f[0] for f in found] == ["malformed(protobuf)", "malformed(value)"]


def test_a_registry_header_of_protobuf_names_the_message_of_its_file(rides):
    body = rides._class(ride="r1").SerializeToString()
    header = b"\x00" + (7).to_bytes(4, "big")
    found = read([header + b"\x00" + body, header + b"\x02\x00" + body, header], Codec(rides, schema_id=7))
    assert found[:2] == [{"ride": "r1", "passengers": 0, "kind": "UNKNOWN"}] * 2
    assert found[2] == ("malformed(header)", found[2][1])


def test_a_message_that_the_descriptors_do_not_have_is_named_with_those_they_have(rides):
    with pytest.raises(ValueError, match="no compiled descriptor set"):
        ProtobufRows(b"\xff\xff", "rides.Ride")
    with pytest.raises(ValueError, match="no message `rides.Other`"):
        ProtobufRows(b"", "rides.Other")
