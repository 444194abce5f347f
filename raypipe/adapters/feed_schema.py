"""The schema file of a feed becomes what reads its messages. A .proto file is compiled."""

from __future__ import annotations

from pathlib import Path
from typing import assert_never

from fastavro.schema import SchemaParseException, UnknownType

from raypipe.adapters.protoc import compile_proto
from raypipe.contracts.messages import AvroRows, Codec, JsonRows
from raypipe.contracts.protobuf import ProtobufRows
from raypipe.contracts.source import MessageFeed
from raypipe.errors import ConfigError


def codec_of(feed: MessageFeed, directory: Path) -> Codec:
    """Return how the messages of a feed are read.

    Parameters
    ----------
    directory
        Of the pipeline file, beside which the schema lies.

    Raises
    ------
    ConfigError
        When the file cannot be read or compiled, or says nothing about such messages.
    """
    if feed.schema_ is None:
        return Codec(JsonRows(), feed.schema_id)
    file = directory / feed.schema_
    try:
        match feed.format:
            case "json":
                return Codec(JsonRows(), feed.schema_id)
            case "avro":
                return Codec(AvroRows.of(file.read_bytes()), feed.schema_id)
            case "protobuf":
                said = file.read_bytes()
                compiled = compile_proto(file) if file.suffix == ".proto" else said
                return Codec(ProtobufRows(compiled, str(feed.message)), feed.schema_id)
            case _:
                assert_never(feed.format)
    except OSError as error:
        raise ConfigError(
            f"{file}: the schema of a feed cannot be read: {error.strerror}", file=str(file), line=None
        ) from error
    except (ValueError, SchemaParseException, UnknownType) as error:
        raise ConfigError(
            f"{file}: no {feed.format} messages can be read by it: {error}", file=str(file), line=None
        ) from error
