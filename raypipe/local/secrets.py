"""The generated secrets of the local platform: one file each, readable by their owner only.

Knows files and modes; the secrets themselves never leave this module except to be read where they are used.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from raypipe.errors import RaypipeError


def private_directory(path: Path) -> Path:
    """Return `path`, which exists afterwards and which only its owner can enter.

    Raises
    ------
    RaypipeError
        When the path belongs to somebody else or is a link.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    stat = path.lstat()
    if path.is_symlink() or stat.st_uid != os.getuid():
        raise RaypipeError(
            f"{path} is a link or belongs to user {stat.st_uid}, not {os.getuid()}: remove it", path=path
        )
    path.chmod(0o700)
    return path


def ensure_secret(file: Path, *, length_bytes: int = 24, guards: Path | None = None) -> str:
    """Return the secret in `file`, generated (hexadecimal) and written with mode 0600 unless it exists.

    Parameters
    ----------
    guards
        Data that only this secret opens: while there is any, a lost secret is an error, never replaced.

    Raises
    ------
    RaypipeError
        When the secret is gone and the data it guards is not.
    """
    private_directory(file.parent)
    if file.exists():
        file.chmod(0o600)
        return file.read_text().strip()
    if guards is not None and guards.is_dir() and any(guards.iterdir()):
        raise RaypipeError(
            f"the secret {file} is gone but the data it guards in {guards} is not: restore the file, "
            "or delete the data to start empty",
            file=file,
        )
    secret = secrets.token_hex(length_bytes)
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
        handle.write(secret)
    partial.replace(file)
    return secret
