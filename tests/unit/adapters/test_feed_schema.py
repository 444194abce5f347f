"""The schema file of a feed: what cannot be used is said with its path and the compiler's own words."""

from __future__ import annotations

from datetime import date

import pytest

from raypipe.adapters.feed_schema import codec_of
from raypipe.contracts.messages import AvroRows, JsonRows, read_messages
from raypipe.contracts.protobuf import ProtobufRows
from raypipe.contracts.source import KafkaFeed
from raypipe.errors import ConfigError

AVSC = '{"type": "record", "name": "ride", "fields": [{"name": "ride", "type": "string"}]}'
IMPORTED = 'syntax = "proto3"; message Place { string city = 1; }'
PROTO = 'syntax = "proto3"; package rides; import "place.proto"; message Ride { string ride = 1; Place at = 2; }'


def feed(format, **more):
    return KafkaFeed.model_validate({"kind": "kafka", "topic": "rides", "format": format, **more})


def test_json_needs_no_schema(tmp_path):
    assert isinstance(codec_of(feed("json"), tmp_path).rows, JsonRows)
    assert codec_of(feed("json", schema_id=3), tmp_path).schema_id == 3


def test_an_avro_schema_and_a_proto_file_with_what_it_imports_are_read(tmp_path):
    (tmp_path / "ride.avsc").write_text(AVSC)
    (tmp_path / "ride.proto").write_text(PROTO)
    (tmp_path / "place.proto").write_text(IMPORTED)
    assert isinstance(codec_of(feed("avro", schema="ride.avsc"), tmp_path).rows, AvroRows)
    assert isinstance(
        codec_of(feed("protobuf", schema="ride.proto", message="rides.Ride"), tmp_path).rows, ProtobufRows
    )


def test_a_date_of_google_is_a_date_and_one_without_a_day_is_malformed(tmp_path):
    (tmp_path / "ride.proto").write_text(
        'syntax = "proto3"; import "google/type/date.proto"; message Ride { string ride = 1; google.type.Date on = 2; }'
    )
    codec = codec_of(feed("protobuf", schema="ride.proto", message="Ride"), tmp_path)
    whole, month = b"\x12\x07\x08\xe4\x0f\x10\x02\x18\x03", b"\x12\x05\x08\xe4\x0f\x10\x02"
    rows = read_messages([b"\x0a\x01a" + whole, b"\x0a\x01b", b"\x0a\x01c" + month], codec)
    assert rows.parts[0].frame["on"].to_list() == [date(2020, 2, 3), None]
    assert rows.malformed["reason"].to_pylist() == ["malformed(value)"]


@pytest.mark.parametrize(
    ("name", "text", "options", "said"),
    [
        ("absent.avsc", None, {"format": "avro"}, "cannot be read: No such file"),
        ("absent.proto", None, {"format": "protobuf", "message": "Ride"}, "cannot be read: No such file"),
        ("ride.avsc", "{", {"format": "avro"}, "no avro messages can be read by it"),
        ("ride.avsc", '{"type": "string"}', {"format": "avro"}, "write one record a row"),
        (
            "ride.proto",
            "syntax = 'proto3'; message {",
            {"format": "protobuf", "message": "Ride"},
            "Expected message name",
        ),
        ("ride.proto", IMPORTED, {"format": "protobuf", "message": "Ride"}, "no message `Ride`: it has Place"),
        ("ride.desc", "\x00\x00", {"format": "protobuf", "message": "Ride"}, "no compiled descriptor set"),
    ],
)
def test_a_schema_that_cannot_be_used_is_named_with_what_is_wrong(tmp_path, name, text, options, said):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as refused:
        codec_of(feed(schema=name, **options), tmp_path)
    assert refused.value.message.startswith(str(tmp_path / name))
    assert said in refused.value.message
