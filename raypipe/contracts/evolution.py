"""What changed between two contracts, and whom it breaks.

BACKWARD: a reader on the new contract reads what was written under the old one, so readers go first. FORWARD: a
reader on the old contract reads what is written under the new one, so writers go first. FULL is both. The transitive
forms ask it of every contract there was, the others of the last. The words are those of Confluent's schema registry;
the rules are in `readers`. Knows contracts. Does not know where they are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Generic, TypeVar

from raypipe.contracts import readers
from raypipe.contracts.contract import TIMESTAMP, Bound, Contract, Expression, Field, RowRules
from raypipe.contracts.readers import EVERY, Rules
from raypipe.contracts.table_rules import TableRule

T = TypeVar("T")

_LOGICAL = {
    "string": "string",
    "int64": "integer",
    "double": "number",
    "bool": "boolean",
    "date32[day]": "date",
    str(TIMESTAMP): "timestamp",
}


class Mode(StrEnum):
    """Who must be able to read what others wrote."""

    BACKWARD = "BACKWARD"
    FORWARD = "FORWARD"
    FULL = "FULL"
    BACKWARD_TRANSITIVE = "BACKWARD_TRANSITIVE"
    FORWARD_TRANSITIVE = "FORWARD_TRANSITIVE"
    FULL_TRANSITIVE = "FULL_TRANSITIVE"

    @property
    def transitive(self) -> bool:
        """Whether every earlier contract is asked, not only the last."""
        return self.endswith("_TRANSITIVE")

    @property
    def backward(self) -> bool:
        """Whether a reader on the new contract must read the old data."""
        return not self.startswith("FORWARD")

    @property
    def forward(self) -> bool:
        """Whether a reader on the old contract must read the new data."""
        return not self.startswith("BACKWARD")


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two contracts.

    Parameters
    ----------
    path
        What changed: a column, a column and a key of the standard such as `celsius.maximum`, or a key alone.
    old, new
        What each contract says, in words.
    backward
        The sets of rules by which a reader on the new contract reads what was written under the old one.
    forward
        The same, for a reader on the old one and what is written under the new one.
    """

    path: str
    old: str
    new: str
    backward: frozenset[Rules]
    forward: frozenset[Rules]

    def breaks(self, mode: Mode, rules: Rules) -> bool:
        """Return whether somebody whom `mode` protects can no longer read."""
        return (mode.backward and rules not in self.backward) or (mode.forward and rules not in self.forward)


def changes(old: Contract, new: Contract) -> tuple[Change, ...]:
    """Return every difference in meaning: none exactly when the digests are equal.

    Parameters
    ----------
    old, new
        The contracts. Their versions, and what is only recorded, do not count.
    """
    return (*_between(_CONTRACT, "", old, new), *_of_columns(old, new))


def against(history: Sequence[Contract], mode: Mode) -> tuple[Contract, ...]:
    """Return the contracts, oldest first, that a new one is compared with: the last, or all where it is transitive."""
    return tuple(history if mode.transitive else history[-1:])


def compatible(history: Sequence[Contract], new: Contract, mode: Mode, rules: Rules) -> bool:
    """Return whether nobody whom `mode` protects is broken by the new contract.

    Parameters
    ----------
    history
        What was in force before, oldest first; without any, nobody is.
    new
        The contract that is to follow.
    mode, rules
        Who must read what, and how they read.
    """
    return not any(c.breaks(mode, rules) for old in against(history, mode) for c in changes(old, new))


@dataclass(frozen=True, slots=True)
class _Aspect(Generic[T]):
    """One thing that a contract or a column says.

    Parameters
    ----------
    key
        Its name in the standard.
    of
        The value; equal values mean the same.
    words
        The value in words.
    reads
        (writer, reader) -> who reads.
    """

    key: str
    of: Callable[[T], object]
    words: Callable[[T], str]
    reads: Callable[[T, T], frozenset[Rules]]


def _between(aspects: Sequence[_Aspect[T]], prefix: str, old: T, new: T) -> Iterator[Change]:
    for a in aspects:
        if a.of(old) != a.of(new):
            yield Change(prefix + a.key, a.words(old), a.words(new), a.reads(old, new), a.reads(new, old))


def _of_columns(old: Contract, new: Contract) -> Iterator[Change]:
    was, now = {f.name: f for f in old.fields}, {f.name: f for f in new.fields}
    for name in dict.fromkeys((*was, *now)):
        before, after = was.get(name), now.get(name)
        if before is not None and after is not None:
            yield from _between(_COLUMN, f"{name}.", before, after)
        else:
            reads = readers.reads_column
            yield Change(name, _column(before), _column(after), reads(before, after), reads(after, before))
    before_order, after_order = [n for n in was if n in now], [n for n in now if n in was]
    if before_order != after_order:
        # Everybody finds columns by name, a table of the lake too.
        yield Change("properties", ", ".join(before_order), ", ".join(after_order), EVERY, EVERY)


def _column(field: Field | None) -> str:
    if field is None:
        return "absent"
    return f"{'required' if field.required else 'optional'} {_logical(field)}"


def _logical(field: Field) -> str:
    return _LOGICAL[str(field.type)]


def _bound(bound: Bound | None) -> str:
    return "none" if bound is None else f"{bound.value}{' (excluded)' if bound.exclusive else ''}"


def _said(value: object) -> str:
    return "none" if value is None else str(value)


def _listed(values: tuple[str | int | float, ...] | None, nothing: str = "all") -> str:
    return nothing if values is None else ", ".join(map(str, values))


def _text(field: Field) -> str:
    if field.text is not None:
        return field.text.directives
    return "ISO 8601" if _logical(field) in ("date", "timestamp") else "none"


def _warned(rules: RowRules) -> str:
    said = [
        *(["required"] if rules.required else []),
        *([f"pattern {rules.pattern}"] if rules.pattern is not None else []),
        *([f"valid values {_listed(rules.valid_values)}"] if rules.valid_values is not None else []),
        *([f"missing values {_listed(rules.missing_values)}"] if rules.missing_values is not None else []),
    ]
    return f"warning: {'; '.join(said)}" if said else "none"


def _values(values: tuple[str | int | float, ...] | None) -> frozenset[str | int | float] | None:
    return None if values is None else frozenset(values)


def _table_rules(contract: Contract) -> frozenset[TableRule]:
    """Return the rules without their names, which are only how they are told apart."""
    return frozenset(replace(rule, name="") for rule in contract.table_rules)


def _warned_expressions(contract: Contract) -> frozenset[Expression]:
    return frozenset(e for e in contract.expressions if e.severity == "warning")


def _in_words(*parts: Sequence[object]) -> str:
    return "; ".join(str(part) for found in parts for part in found) or "none"


def _everybody(_writer: object, _reader: object) -> frozenset[Rules]:
    return EVERY


def _all_but(broken: Rules) -> Callable[[Contract, Contract], frozenset[Rules]]:
    return lambda _writer, _reader: EVERY - {broken}


_CONTRACT: tuple[_Aspect[Contract], ...] = (
    # Two Avro records match when their names do; a table of the lake is named in the pipeline file.
    _Aspect("name", lambda c: c.name, lambda c: c.name, _all_but(Rules.AVRO)),
    # An event's identity and its place in time are columns of the lake, which would mean two things in one table.
    _Aspect("primaryKey", lambda c: c.key, lambda c: ", ".join(c.key), _all_but(Rules.LAKE)),
    _Aspect("eventAt", lambda c: c.event_at, lambda c: c.event_at, _all_but(Rules.LAKE)),
    _Aspect("knownAt", lambda c: c.known_at, lambda c: c.known_at or "the arrival", _all_but(Rules.LAKE)),
    _Aspect(
        "query",
        readers.expressions,
        lambda c: _in_words([e.name for e in c.expressions if e.severity == "error"]),
        readers.reads_expressions,
    ),
    _Aspect(
        "quality",
        lambda c: (_table_rules(c), _warned_expressions(c)),
        lambda c: _in_words(
            [f"{r.name} {r.must} {r.unit} ({r.severity})" for r in c.table_rules],
            [f"warning: {e.name}" for e in c.expressions if e.severity == "warning"],
        ),
        # What a generation as a whole must be decides when it is written, and who breaks a warning is accepted.
        _everybody,
    ),
)

_COLUMN: tuple[_Aspect[Field], ...] = (
    _Aspect("logicalType", _logical, _logical, readers.reads_type),
    _Aspect("required", lambda f: f.required, lambda f: str(f.required).lower(), readers.reads_required),
    _Aspect("minimum", lambda f: f.minimum, lambda f: _bound(f.minimum), readers.reads_minimum),
    _Aspect("maximum", lambda f: f.maximum, lambda f: _bound(f.maximum), readers.reads_maximum),
    _Aspect("multipleOf", lambda f: f.multiple_of, lambda f: _said(f.multiple_of), readers.reads_multiple),
    _Aspect("minLength", lambda f: f.min_length, lambda f: _said(f.min_length), readers.reads_min_length),
    _Aspect("maxLength", lambda f: f.max_length, lambda f: _said(f.max_length), readers.reads_max_length),
    _Aspect("pattern", lambda f: f.pattern, lambda f: _said(f.pattern), readers.reads_pattern),
    _Aspect(
        "validValues", lambda f: _values(f.valid_values), lambda f: _listed(f.valid_values), readers.reads_valid_values
    ),
    _Aspect(
        "missingValues",
        lambda f: _values(f.missing_values),
        lambda f: _listed(f.missing_values, "none"),
        readers.reads_missing_values,
    ),
    _Aspect("format", lambda f: f.text, _text, readers.reads_text),
    _Aspect(
        "quality",
        lambda f: (
            f.warned.required,
            f.warned.pattern,
            _values(f.warned.valid_values),
            _values(f.warned.missing_values),
        ),
        lambda f: _warned(f.warned),
        # Who breaks a warning is accepted.
        _everybody,
    ),
)
