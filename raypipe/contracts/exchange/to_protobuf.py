"""A contract as a Protobuf message (proto 3), as `readers` says that Protobuf reads it.

Knows Protobuf's types. Protobuf holds types; the rest goes along in the comments, as one line of JSON after `odcs:`.
Field numbers are those that the columns pin, and the next free ones for the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from raypipe.contracts.described import Column, Described, Note, listed
from raypipe.contracts.exchange.carried import (
    PROTOBUF_NUMBER,
    Exported,
    as_json,
    carry,
    carry_contract,
    check_column_names,
    record_name,
    unchecked,
    unchecked_of_contract,
)
from raypipe.contracts.exchange.to_avro import description_of
from raypipe.errors import ContractError

MARK = "odcs:"
"""How the line of a comment begins that holds keys of the standard."""

_READER = "a Protobuf reader"
_HELD = {"logicalType"}
_LAST, _THEIRS = 2**29 - 1, range(19_000, 20_000)
_TYPES = {
    "string": "optional string",
    "int64": "optional int64",
    "double": "optional double",
    "bool": "optional bool",
    # Messages have presence without saying so. The leading dot: a column may be called `google`.
    "date32[day]": ".google.type.Date",
    "timestamp[us, tz=UTC]": ".google.protobuf.Timestamp",
}
_IMPORTS = {
    ".google.protobuf.Timestamp": "google/protobuf/timestamp.proto",
    ".google.type.Date": "google/type/date.proto",
}


def to_protobuf(described: Described) -> Exported:
    """Return the contract as a `.proto` file with one message.

    Parameters
    ----------
    described
        The contract.

    Raises
    ------
    ContractError
        When a column's name is none in Protobuf, two have one name in its JSON form, or two pin one number.
    """
    check_column_names(described, "Protobuf")
    _check_json_names(described)
    numbers = _numbers(described.columns)
    types = [_TYPES[str(c.field.type)] for c in described.columns]
    imports = sorted({_IMPORTS[t] for t in types if t in _IMPORTS})
    name = record_name(described)
    lines = ['syntax = "proto3";', "", *(f'import "{file}";' for file in imports), *([""] if imports else [])]
    lines += [*_comment(description_of(described), carry_contract(described)), f"message {_free(name)} {{"]
    for column, dtype, number in zip(described.columns, types, numbers, strict=True):
        told = column.stated.get("description")
        plain = told is None or is_one_line(told)
        said = _comment(told, carry(column, _HELD | ({"description"} if plain else set())))
        lines += [*(f"  {line}" for line in said), f"  {dtype} {column.field.name} = {number};"]
    return Exported("\n".join([*lines, "}", ""]), tuple(_notes(described)))


def is_one_line(text: object) -> bool:
    """Return whether a comment holds the text as it is."""
    return isinstance(text, str) and text != "" and text == _one_line(text) and not text.startswith(MARK)


def pinned(column: Column) -> int | None:
    """Return the field number that a custom property of the column pins.

    Raises
    ------
    ContractError
        When it is none.
    """
    for custom in listed(column.stated.get("customProperties")):
        if custom.get("property") == PROTOBUF_NUMBER:
            number = custom.get("value")
            if isinstance(number, bool) or not isinstance(number, int) or not _is_number(number):
                raise ContractError(
                    f"`{PROTOBUF_NUMBER}` of `{column.field.name}` is {number!r}: field numbers are 1 to {_LAST} "
                    f"without {_THEIRS.start} to {_THEIRS.stop - 1}",
                    key=column.field.name,
                )
            return number
    return None


def _is_number(number: int) -> bool:
    return 1 <= number <= _LAST and number not in _THEIRS


def _numbers(columns: Sequence[Column]) -> list[int]:
    pins = [pinned(c) for c in columns]
    taken = [p for p in pins if p is not None]
    for column, pin in zip(columns, pins, strict=True):
        if pin is not None and taken.count(pin) > 1:
            raise ContractError(
                f"`{PROTOBUF_NUMBER}` is {pin} for `{column.field.name}` and another column: give each its own",
                key=column.field.name,
            )
    free = (n for n in range(max(taken, default=0) + 1, _LAST + 1) if _is_number(n))
    return [next(free) if pin is None else pin for pin in pins]


def _check_json_names(described: Described) -> None:
    """Protobuf's JSON form writes `air_time` as `airTime`, and a compiler refuses two columns that come out alike."""
    found: dict[str, str] = {}
    for column in described.columns:
        name = column.field.name
        first, *others = name.split("_")
        json_name = first + "".join(part[:1].upper() + part[1:] for part in others)
        if other := found.get(json_name):
            raise ContractError(
                f"the columns `{other}` and `{name}` are both `{json_name}` in Protobuf's JSON form: rename one, or "
                "export as avro or json-schema",
                key=name,
            )
        found[json_name] = name


def _free(name: str) -> str:
    return f"{name}_" if name == "google" else name  # the package of the messages that are imported


def _comment(text: object, carried: dict[str, object]) -> Iterator[str]:
    # A description that begins like the line of the keys would be read as one.
    if text is not None and (line := _one_line(str(text))) and not line.startswith(MARK):
        yield f"// {line}"
    if carried:
        yield f"// {MARK} {as_json(carried)}"


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _notes(described: Described) -> Iterator[Note]:
    for column in described.columns:
        yield from unchecked(column, _HELD, _READER)
    yield from unchecked_of_contract(described, _READER)
    if loose := [c.field.name for c in described.columns if pinned(c) is None]:
        yield Note(
            ", ".join(loose),
            "the field numbers come from the order of the columns. Before one is added between them or removed, pin "
            f"them by the custom property `{PROTOBUF_NUMBER}`: a name keeps its number for ever",
        )
