"""A YAML text whose every key knows its line, so that an error can point at it.

Knows YAML. Does not know what the keys mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from raypipe.errors import ContractError

Path = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a date stays text, so that the reader of the field says how it is parsed."""

    yaml_implicit_resolvers = {
        first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


@dataclass(frozen=True, slots=True)
class Document:
    """The content of a file and the line (1-based) of each of its keys."""

    file: str
    content: Mapping[str, Any]
    lines: Mapping[Path, int]


@dataclass(frozen=True, slots=True)
class Place:
    """One spot of a document."""

    document: Document
    path: Path = ()

    def at(self, *keys: str | int) -> Place:
        """Return the spot below this one."""
        return Place(self.document, self.path + keys)

    @property
    def line(self) -> int:
        """The line of this key, or of the nearest one above it that is written."""
        path = self.path
        while path not in self.document.lines:
            path = path[:-1]
        return self.document.lines[path]

    def error(self, message: str) -> ContractError:
        """Return the error that points here."""
        key = ".".join(map(str, self.path))
        return ContractError(
            f"{self.document.file}:{self.line}: {message}", file=self.document.file, line=self.line, key=key
        )


def read_document(text: str, file: str) -> Place:
    """Return the root of the document.

    Parameters
    ----------
    text
        YAML without aliases.
    file
        Name for messages.

    Raises
    ------
    ContractError
        When the text is not YAML, is not a mapping, repeats a key or uses an alias.
    """
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=_Loader)):
            raise ContractError(f"{file}: YAML aliases are not read: write the value out", file=file, line=None, key="")
        node = yaml.compose(text, Loader=_Loader)
        content = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else None
        raise ContractError(f"{file}:{line or '?'}: this is not YAML: {error}", file=file, line=line, key="") from error
    if not isinstance(node, yaml.MappingNode):
        raise ContractError(f"{file}:1: a contract is a YAML mapping, found none", file=file, line=1, key="")
    lines: dict[Path, int] = {(): 1}
    for path, line in _walk(node, ()):
        if path in lines:
            raise ContractError(
                f"{file}:{line}: `{path[-1]}` is written twice, first on line {lines[path]}: keep one",
                file=file,
                line=line,
                key=".".join(map(str, path)),
            )
        lines[path] = line
    return Place(Document(file, content, lines))


def _walk(node: yaml.Node, path: Path) -> Iterator[tuple[Path, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*path, str(key.value))
            yield below, key.start_mark.line + 1
            yield from _walk(value, below)
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            yield (*path, i), value.start_mark.line + 1
            yield from _walk(value, (*path, i))
