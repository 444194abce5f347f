"""Every error that raypipe raises on purpose.

    RaypipeError                     exit 1   unexpected, but said in one sentence
    ├── ConfigError                  exit 2   the user's file is wrong: file, line, nearest valid key
    │   └── ContractError            exit 2   a data contract is wrong or cannot be executed
    ├── Unavailable                  exit 1   an outside system does not answer: what, where, what to do
    ├── AccessDenied                 exit 1   an outside system answers, but not to these credentials
    ├── PortTaken                    exit 1   a port of the local platform is held by another process
    ├── GenerationMoved              exit 1   somebody else committed first: expected, found, by whom
    ├── ObjectChanged                exit 1   an object was written over since it was listed
    ├── BundleRefused                exit 1   a bundle's bytes are not those its manifest promises
    └── BadRequest                   HTTP 400 a caller's request cannot be scored: what and where

A refusal is a value (`raypipe.verdict.Verdict`), not an exception: exit codes 3 and 4 come from results.
All of these survive pickling with their attributes, so an error in a Ray worker arrives as itself.
This module knows nothing of the rest of the package.
"""

from __future__ import annotations

from typing import Any


class RaypipeError(Exception):
    """Something that raypipe can say in one sentence: what happened, with which values, what to do next.

    Parameters
    ----------
    message
        The sentence. Keyword arguments become attributes, so that callers need not parse it.

    Examples
    --------
    >>> import pickle
    >>> error = pickle.loads(pickle.dumps(GenerationMoved("moved", stream="s", expected=7, found=8)))
    >>> error.expected, error.found
    (7, 8)
    """

    exit_code = 1

    def __init__(self, message: str, **values: object) -> None:
        super().__init__(message)
        self.message = message
        self.__dict__.update(values)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, dict(self.__dict__))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{type(self).__name__} carries no {name!r}")


def _rebuild(cls: type[RaypipeError], args: tuple[Any, ...], values: dict[str, Any]) -> RaypipeError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(values)
    return error


class ConfigError(RaypipeError):
    """A configuration file is wrong. Attributes: `file`, `line` (1-based or None), `key`."""

    exit_code = 2


class ContractError(ConfigError):
    """A data contract is wrong, or states a rule that raypipe cannot execute."""


class Unavailable(RaypipeError):
    """An outside system does not answer. Attributes: `system`, `address`."""


class AccessDenied(RaypipeError):
    """An outside system refuses these credentials. Attributes: `system`, `address`."""


class PortTaken(RaypipeError):
    """A port is held by a process that is not ours. Attributes: `port`, `setting`, `holder`."""


class GenerationMoved(RaypipeError):
    """Another writer committed first. Attributes: `stream`, `expected`, `found`."""


class ObjectChanged(RaypipeError):
    """An object is not the version that was asked for. Attributes: `uri`, `etag`."""


class BundleRefused(RaypipeError):
    """A bundle cannot be trusted or loaded. Attributes: `digest`, `file`."""


class BadRequest(RaypipeError):
    """A scoring request cannot be answered as it stands. The message names the field."""
