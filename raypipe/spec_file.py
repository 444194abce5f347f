"""A YAML file read into a frozen spec; what is wrong in it is said with file, line and nearest key.

Knows YAML and pydantic; does not know what a spec means.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from raypipe.errors import ConfigError
from raypipe.spec import Spec

S = TypeVar("S", bound=Spec)
_Path = tuple[str | int, ...]


def load_spec(model: type[S], file: Path, overrides: Sequence[str]) -> S:
    """Return what a file says, after overrides such as `training.seed=8`.

    Raises
    ------
    ConfigError
        With file, line and nearest valid key, when anything in it is wrong.
    """
    text = read_text(file, "the configuration")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else None
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError(f"{file}:{line}: this is not YAML: {problem}", file=str(file), line=line) from error
    if not isinstance(data, dict) or node is None:
        raise ConfigError(f"{file}:1: expected keys and values, found {type(data).__name__}", file=str(file), line=1)
    for override in overrides:
        _override(data, override)
    lines = dict(_lines(node, ()))
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _sentence(model, error, file, lines) from None


def read_text(file: Path, what: str) -> str:
    """Return a file's text.

    Raises
    ------
    ConfigError
        When it cannot be read; `what` names it.
    """
    try:
        return file.read_text()
    except OSError as error:
        raise ConfigError(f"{file}: {what} cannot be read: {error.strerror}", file=str(file), line=None) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{file}: {what} is not text in UTF-8 (byte {error.start}): save it as UTF-8", file=str(file), line=None
        ) from error


def _override(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals:
        raise ConfigError(f"--set {override}: write KEY=VALUE, as in training.seed=8", key=key)
    *parents, last = key.split(".")
    here: Any = data
    for parent in parents:
        here = here.setdefault(parent, {}) if isinstance(here, dict) else None
    if not isinstance(here, dict):
        raise ConfigError(f"--set {override}: {'.'.join(parents)} is not a mapping", key=key)
    try:
        here[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        here[last] = value  # `>= 0.7` needs quotes in a file, and the shell took those that were given


def _lines(node: yaml.Node, path: _Path) -> Iterator[tuple[_Path, int]]:
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*path, key.value)
            yield from _lines(value, below)
            yield below, key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _lines(value, (*path, index))


def _sentence(model: type[BaseModel], error: ValidationError, file: Path, lines: dict[_Path, int]) -> ConfigError:
    """Turn pydantic's first error into one sentence; an unknown key comes before all others."""
    found = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")[0]
    location = tuple(found["loc"])
    # A union's tag stands in pydantic's location but not in the file.
    path = _in_file(location, lines, absent=found["type"] != "value_error")
    line = next(lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in lines)
    name = ".".join(str(p) for p in path) or "the file"
    match found["type"]:
        case "extra_forbidden":
            valid = _siblings(model, path[:-1])
            text = f"unknown key `{path[-1]}`{nearest(str(path[-1]), valid)}"
        case "missing":
            text = f"`{name}` is required"
        case "union_tag_invalid" | "union_tag_not_found":
            context = found.get("ctx", {})
            tag, expected = context.get("tag"), context.get("expected_tags", "")
            valid = [t.strip(" '") for t in str(expected).split(",")]
            kind = str(context.get("discriminator", "kind")).strip("'")
            text = f"`{name}.{kind}` is {tag!r}{nearest(str(tag), valid)}" if tag else f"`{name}` needs a `{kind}`"
        case _:
            message = str(found["msg"]).removeprefix("Value error, ")
            text = f"`{name}`: {message}" if path else message
    return ConfigError(f"{file}:{line}: {text}", file=str(file), line=line, key=name)


def _in_file(location: tuple[str | int, ...], lines: dict[_Path, int], *, absent: bool) -> _Path:
    """Return the part of a location that stands in the file, and its last key where that may be `absent` from it."""
    path: _Path = ()
    for index, part in enumerate(location):
        below = (*path, part)
        is_last = index == len(location) - 1
        if below in lines or (is_last and absent):
            path = below
    return path


def _siblings(model: type[BaseModel], path: _Path) -> list[str]:
    """Return the valid keys where `path` leads, walking the JSON schema of `model`."""
    root = model.model_json_schema(by_alias=True)
    here = [root]
    for part in path:
        here = [step for schema in here for step in _down(root, schema, part)]
    return sorted({k for schema in here for s in _choices(root, schema) for k in s.get("properties", {})})


def _down(root: dict[str, Any], schema: dict[str, Any], part: str | int) -> Iterator[dict[str, Any]]:
    for choice in _choices(root, schema):
        if isinstance(part, int):
            inner = choice.get("items") or choice.get("prefixItems")
        else:
            inner = choice.get("properties", {}).get(part) or choice.get("additionalProperties")
        if isinstance(inner, dict):
            yield inner


def _choices(root: dict[str, Any], schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if reference := schema.get("$ref"):
        yield from _choices(root, root["$defs"][reference.rsplit("/", 1)[-1]])
    for choice in [*schema.get("anyOf", []), *schema.get("oneOf", []), *schema.get("allOf", [])]:
        yield from _choices(root, choice)
    yield schema


def nearest(given: str, valid: Sequence[str] | Mapping[str, Any]) -> str:
    """Return what to say about a name that is not valid: the nearest one, else all."""
    close = difflib.get_close_matches(given, list(valid), n=1, cutoff=0.5)
    if close:
        return f": did you mean `{close[0]}`?"
    return f": valid here are {', '.join(sorted(valid))}" if valid else ""
