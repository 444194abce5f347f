"""How times are written: ISO 8601, or a format that the contract states.

Knows text forms of dates and timestamps. Does not know columns.
"""

from __future__ import annotations

import re

from raypipe.contracts.contract import TimeText

_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
# Seconds stop at 59: a leap second has no place on the lake's time line. Six decimals: the lake keeps microseconds,
# and a seventh would be lost in silence.
_CLOCK = r"[0-9]{2}:[0-9]{2}:[0-5][0-9](?:\.[0-9]{1,6})?"
_ZONE = "(?:Z|[+-][0-9]{2}:[0-9]{2})"

ISO_TIMESTAMP = TimeText(f"^{_DATE}T{_CLOCK}{_ZONE}$", "%Y-%m-%dT%H:%M:%S%.f%#z")
"""RFC 3339, the profile of ISO 8601 that the internet writes: `2013-01-01T10:15:00Z`."""

ISO_TIMESTAMP_WITHOUT_ZONE = TimeText(f"^{_DATE}T{_CLOCK}$", "%Y-%m-%dT%H:%M:%S%.f", zoned=False)
"""The same without a zone, read as UTC."""

ISO_DATE = TimeText(f"^{_DATE}$", "%Y-%m-%d", zoned=False)
"""`2013-01-01`."""

# java.time.format.DateTimeFormatter, the notation that ODCS prescribes: token -> (regular expression, chrono).
_TOKENS = {
    "yyyy": ("[0-9]{4}", "%Y"),
    "MM": ("[0-9]{2}", "%m"),
    "dd": ("[0-9]{2}", "%d"),
    "HH": ("[0-9]{2}", "%H"),
    "mm": ("[0-9]{2}", "%M"),
    "ss": ("[0-5][0-9]", "%S"),
    "SSS": ("[0-9]{3}", "%3f"),
    "SSSSSS": ("[0-9]{6}", "%6f"),
    "XXX": (_ZONE, "%#z"),
}
_PIECE = re.compile(r"([A-Za-z])\1*|'([^']+)'|([-/:., ])")


def time_text(jdk: str, *, clock: bool) -> TimeText:
    """Return the text form that a JDK `DateTimeFormatter` pattern describes.

    Parameters
    ----------
    jdk
        Such as `yyyy-MM-dd HH:mm:ss`; tokens are yyyy MM dd HH mm ss SSS SSSSSS XXX, quoted text and `-/:.,` or space.
    clock
        Whether hours and minutes must be there (a timestamp) or must not (a date).

    Raises
    ------
    ValueError
        When the pattern has another token, or does not determine the time.

    Examples
    --------
    >>> time_text("yyyy-MM-dd HH:mm", clock=True).directives
    '%Y-%m-%d %H:%M'
    """
    pattern, directives, used, end = "", "", set(), 0
    while end < len(jdk):
        piece = _PIECE.match(jdk, end)
        if piece is None or (piece[1] and piece[0] not in _TOKENS):
            token = piece[0] if piece else jdk[end]
            raise ValueError(f"the format {jdk!r} has the token {token!r}: known are {', '.join(_TOKENS)}")
        end = piece.end()
        if piece[1]:
            used.add(piece[0])
            regexp, directive = _TOKENS[piece[0]]
        else:
            literal = piece[2] or piece[3]
            regexp, directive = re.escape(literal), literal.replace("%", "%%")
        pattern, directives = pattern + regexp, directives + directive
    needed = {"yyyy", "MM", "dd"} | ({"HH", "mm"} if clock else set())
    if missing := needed - used:
        raise ValueError(f"the format {jdk!r} leaves out {', '.join(sorted(missing))}: the time is not determined")
    if not clock and used - needed:
        raise ValueError(f"the format {jdk!r} of a date has {', '.join(sorted(used - needed))}: declare a timestamp")
    return TimeText(f"^{pattern}$", directives, zoned="XXX" in used)
