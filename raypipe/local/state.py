"""What `up` remembers for `status` and `down`: one JSON file, replaced whole, behind one lock.

Knows files; does not know how the parts are started. Losing the file loses no process: those carry their mark.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ConfigDict, ValidationError

from raypipe.config import load_environment
from raypipe.environment import EnvironmentSpec
from raypipe.errors import RaypipeError
from raypipe.local.processes import ProcessId
from raypipe.spec import Spec


class PartState(Spec):
    """A part that was started: its first process, from which all its others descend."""

    pid: int
    started_at_s: float

    @property
    def process(self) -> ProcessId:
        """The first process."""
        return ProcessId(self.pid, self.started_at_s)


class PlatformState(Spec):
    """The platform of one home."""

    # The file may be of another version of raypipe; what it knows more is no reason to leave processes behind.
    model_config = ConfigDict(frozen=True, extra="ignore")

    environment_file: str
    environment: EnvironmentSpec
    chosen_ports: dict[str, int] = {}
    """Ports that no setting names, kept so that a repaired part comes back where it was."""
    parts: dict[str, PartState] = {}
    extras: tuple[str, ...] = ()
    """Parts that are only run because somebody asked for them."""


def load_state(home: Path) -> PlatformState | None:
    """Return what was remembered, or None when nothing was.

    Raises
    ------
    RaypipeError
        When the file is not what `save_state` writes.
    """
    file = home / "state.json"
    try:
        return PlatformState.model_validate_json(file.read_text())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise RaypipeError(
            f"{file} cannot be read ({error.error_count()} errors): delete it, then `raypipe down` still finds and "
            "ends every process of this platform",
            file=file,
        ) from error


def environment_in_force(name: str | None, home: Path) -> EnvironmentSpec:
    """Return the environment of this name or file; without one, that which is up at `home`, else `local`.

    Raises
    ------
    ConfigError
        When there is no such environment, or something in it is wrong.
    """
    known = load_state(home) if name is None else None
    return known.environment if known else load_environment(name or "local")


def save_state(home: Path, state: PlatformState) -> None:
    """Replace the file; a reader sees the old one or the new one."""
    partial = home / ".state.json"
    partial.write_text(state.model_dump_json(indent=2))
    partial.replace(home / "state.json")


@contextmanager
def locked(home: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the home's lock; call `waiting` once if somebody else has it. A killed holder lets go by itself."""
    with (home / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
