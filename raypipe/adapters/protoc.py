"""A `.proto` file as descriptors, by Protobuf's own compiler. Does not know contracts."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from raypipe.errors import ConfigError


def compile_proto(file: Path) -> bytes:
    """Return the `FileDescriptorSet` of the file and what it imports, with comments; the file itself is the last.

    Parameters
    ----------
    file
        What it imports is looked up beside it, and among Google's own files.

    Raises
    ------
    ConfigError
        When the compiler is not installed, or refuses the file: with its line.
    """
    missing = [name for name in ("grpc_tools", "google.type") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"{file}: a .proto file is read by Protobuf's compiler, and {' and '.join(missing)} is not installed: "
            "`pip install 'raypipe[protobuf]'`",
            file=str(file),
            line=None,
        )
    import google.type.date_pb2 as shared  # noqa: PLC0415

    include = Path(str(shared.__file__)).parents[2]
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "descriptors"
        command = [
            *(sys.executable, "-m", "grpc_tools.protoc"),
            *(f"-I{file.resolve().parent}", f"-I{include}"),
            *("--include_source_info", "--include_imports", f"--descriptor_set_out={out}", file.name),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise _refusal(file, done.stderr)
        return out.read_bytes()


def _refusal(file: Path, said: str) -> ConfigError:
    """Return the compiler's first complaint, which it writes as `file:line:column: text`."""
    at = re.search(rf"^(?:.*/)?{re.escape(file.name)}:(\d+):\d+: (.*)$", said, re.MULTILINE)
    line, text = (int(at[1]), at[2]) if at else (None, " ".join(said.split()))
    return ConfigError(
        f"{file}{f':{line}' if line else ''}: Protobuf's compiler refuses this: {text}", file=str(file), line=line
    )
