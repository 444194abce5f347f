"""The outline of a schema in another notation, completed to a contract that raypipe reads.

What no schema says, a key and clocks, comes from the options or from what was carried with it. Does not know notations.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from raypipe.contracts.described import Keys, Note, listed, mapped, write_odcs
from raypipe.contracts.exchange.carried import Outline
from raypipe.contracts.odcs import load_contract
from raypipe.errors import ContractError

_NEEDED = {"apiVersion": "v3.2.0", "kind": "DataContract", "version": "1.0.0"}
_IMPORTED = "imported"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the contract shall say, whatever the schema does.

    Parameters
    ----------
    name
        Name of the schema object.
    key
        The columns that identify an event, in order.
    event_at, known_at
        The columns of the clocks.
    """

    name: str | None = None
    key: Sequence[str] = ()
    event_at: str | None = None
    known_at: str | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """A contract file, and what of the schema is not in it."""

    text: str
    notes: tuple[Note, ...]


def assemble(outline: Outline, wanted: Wanted, file: str) -> Imported:
    """Return the contract that the outline and the options make.

    Parameters
    ----------
    outline
        What the schema says.
    wanted
        What the options say.
    file
        Name of the schema for messages.

    Raises
    ------
    ContractError
        When no key or no clock is known, or what was found is no contract that raypipe executes.
    """
    carried = dict(outline.carried)
    schema = mapped(carried.pop("schema", None))
    schema["name"] = wanted.name or schema.get("name") or outline.name
    if outline.description and not outline.carried:
        schema["description"] = outline.description
    if not schema["name"]:
        raise ContractError(f"{file}: the schema has no name for the source: say --name", file=file, line=None, key="")
    columns = {str(keys["name"]): dict(keys) for keys in outline.columns}
    notes = list(outline.notes)
    if wanted.key:
        _set_key(columns, wanted.key, file)
    _set_clocks(schema, wanted)
    _check_known(columns, schema, file)
    for name in dict.fromkeys((*wanted.key, *(n for n in (wanted.event_at, wanted.known_at) if n))):
        if not _column(columns, name, file).get("required"):
            columns[name]["required"] = True
            notes.append(Note(name, "is optional in the schema, and required in the contract: a key and a clock are"))
    stated = {**_NEEDED, **(carried or {"id": schema["name"], "status": "draft"})}
    text = write_odcs(stated, schema, columns.values())
    _check(text, list(columns), file)
    return Imported(text, tuple(notes))


def _column(columns: dict[str, dict[str, Any]], name: str, file: str) -> dict[str, Any]:
    if name not in columns:
        near = difflib.get_close_matches(name, list(columns), 1)
        hint = f"did you mean `{near[0]}`?" if near else f"it has {', '.join(columns)}"
        raise ContractError(f"{file} has no column `{name}`: {hint}", file=file, line=None, key=name)
    return columns[name]


def _set_key(columns: dict[str, dict[str, Any]], key: Sequence[str], file: str) -> None:
    for keys in columns.values():
        for word in ("primaryKey", "primaryKeyPosition", "unique"):
            keys.pop(word, None)
    for position, name in enumerate(key, 1):
        _column(columns, name, file).update(primaryKey=True, primaryKeyPosition=position)


def _set_clocks(schema: dict[str, Any], wanted: Wanted) -> None:
    for role, name in (("eventAt", wanted.event_at), ("knownAt", wanted.known_at)):
        if name is not None:
            others = [c for c in listed(schema.get("customProperties")) if c.get("property") != role]
            schema["customProperties"] = [*others, {"property": role, "value": name}]


def _check_known(columns: dict[str, dict[str, Any]], schema: Keys, file: str) -> None:
    clocks = {c.get("property") for c in listed(schema.get("customProperties"))}
    missing = [
        *(["--key COLUMN"] if not any(c.get("primaryKey") for c in columns.values()) else []),
        *(["--event-at COLUMN"] if "eventAt" not in clocks else []),
    ]
    if missing:
        raise ContractError(
            f"{file} does not say which columns identify an event, or which says when it happened: "
            f"add {' and '.join(missing)} (columns are {', '.join(columns)})",
            file=file,
            line=None,
            key="",
        )


def _check(text: str, names: list[str], file: str) -> None:
    """Return when raypipe executes the contract; its own words, but with the column in place of a line nobody sees."""
    try:
        load_contract(text, _IMPORTED)
    except ContractError as error:
        path = str(error.key).split(".")
        where = f"`{names[int(path[3])]}`: " if path[2:3] == ["properties"] and len(path) > 3 else ""
        said = error.message.split(": ", maxsplit=1)[1]
        raise ContractError(f"{file}: {where}{said}", file=file, line=None, key=error.key) from error
