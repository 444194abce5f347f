"""What every specification shares: frozen pydantic models, durations, and tiny expressions.

A spec is data from the user's file. This module knows how such data is checked, not what it means.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)$")


class Spec(BaseModel):
    """Base of everything a user may write: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def parse_duration(value: object) -> timedelta:
    """Return a duration from text such as `90s`, `6h`, `7d`.

    Raises
    ------
    ValueError
        When the text is not a number followed by one of ms, s, m, h, d, w.

    Examples
    --------
    >>> parse_duration("6h")
    datetime.timedelta(seconds=21600)
    """
    if isinstance(value, timedelta):
        return value
    match = _DURATION.match(str(value).strip())
    if not match:
        raise ValueError(f"{value!r} is not a duration: write a number and one of ms, s, m, h, d, w, as in 6h")
    return timedelta(seconds=float(match[1]) * _UNITS[match[2]])


def format_duration(value: timedelta) -> str:
    """Return the shortest text that `parse_duration` reads back, such as `6h`."""
    seconds = value.total_seconds()
    for unit in ("w", "d", "h", "m", "s"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{int(seconds // _UNITS[unit])}{unit}"
    return f"{round(seconds * 1000)}ms"


Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration, return_type=str)]
