"""The schema file of a feed becomes what reads its messages. A .proto file is compiled by grpcio-tools."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import assert_never

from fastavro.schema import SchemaParseException, UnknownType

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
                compiled = _compiled(file) if file.suffix == ".proto" else file.read_bytes()
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


def _compiled(file: Path) -> bytes:
    """Return the descriptor set of a .proto file and what it imports; raises `ValueError` with the compiler's words."""
    file.read_bytes()
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "descriptors"
        command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={file.parent}", "--include_imports"]
        done = subprocess.run(
            [*command, f"--descriptor_set_out={out}", file.name], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ValueError((done.stderr or done.stdout).strip().replace("\n", "; ")[:500])
        return out.read_bytes()
