"""Whether a regular expression means the same in a contract and in a JSON Schema.

A contract is executed by Rust's `regex`; JSON Schema asks for ECMA-262 with Unicode, and says that what is portable is
a small part of it (2020-12 core, section 6.4). Both find a pattern anywhere. Judges the text of a pattern that the
contract's engine takes; a construct that it does not know counts as one that is not portable.
"""

from __future__ import annotations

import re

_ESCAPE = r"\\(?:[\^$\\.*+?()\[\]{}|/nrtfv]|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4})"
_BY_ALPHABET = r"\\[dDwWsS]"
# In Rust `[` nests and `&&`, `--`, `~~` combine classes; in ECMAScript `[]` is an empty class.
_CLASS = rf"\[\^?(?!\])(?:{_ESCAPE}|{_BY_ALPHABET}|\\-|(?!&&|--|~~)[^\\\[\]])+\]"
# A quantifier after a quantifier is possessive, an error or a second one, as the engine likes.
_QUANTIFIER = r"(?:[*+?]|\{[0-9]+(?:,[0-9]*)?\})\??(?![*+?{])"
_ITEM = rf"(?:{_ESCAPE}|{_BY_ALPHABET}|{_CLASS}|\)|[^\\^$*+?()\[\]{{}}|])"
_PORTABLE = re.compile(rf"(?:{_ITEM}(?:{_QUANTIFIER})?|\((?:\?:)?|[|^$]|\\[bB])*")
_VAGUE = re.compile(rf"{_ESCAPE}|(?P<vague>{_BY_ALPHABET}|\\[bB])|\\.", re.DOTALL)


def is_portable(pattern: str) -> bool:
    """Return whether both read the pattern as the same construct, up to what `alphabets` says."""
    return _PORTABLE.fullmatch(pattern) is not None


def alphabets(pattern: str) -> tuple[str, ...]:
    """Return the classes in it that are those of Unicode in a contract, and of ASCII in ECMAScript.

    Examples
    --------
    >>> alphabets(r"^\\d+-[\\d\\w]$")
    ('\\\\d', '\\\\w')
    """
    return tuple(dict.fromkeys(m["vague"] for m in _VAGUE.finditer(pattern) if m["vague"]))
