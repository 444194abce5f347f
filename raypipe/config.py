"""The user's one file, read into frozen specs; what is wrong in it is said with file, line and nearest key.

Only composes the specs that live beside their domains. Knows YAML; does not know what the stages do.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from raypipe.contracts.contract import Contract
from raypipe.contracts.odcs import load_contract
from raypipe.contracts.source import SourceSpec
from raypipe.drift.spec import MonitorSpec, TriggersSpec
from raypipe.environment import EnvironmentSpec
from raypipe.errors import ConfigError
from raypipe.features.view import FeaturesSpec, LabelSpec
from raypipe.rollout.spec import ReleaseSpec
from raypipe.spec import Spec
from raypipe.training.code import CodePackage
from raypipe.training.search import SearchSpec, trials_of, with_parameters
from raypipe.training.spec import Entrypoint, TabularMlp, TrainingSpec, ValidationSpec

S = TypeVar("S", bound=Spec)
_Path = tuple[str | int, ...]


class PipelineSpec(Spec):
    """A model's whole life."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Names the model, its tables and its release stream."""
    sources: dict[str, SourceSpec] = Field(min_length=1)
    features: FeaturesSpec
    label: LabelSpec
    training: TrainingSpec
    search: SearchSpec | None = None
    validation: ValidationSpec
    release: ReleaseSpec = ReleaseSpec()
    monitor: MonitorSpec = MonitorSpec()
    triggers: TriggersSpec = TriggersSpec()

    @model_validator(mode="after")
    def _sources_exist(self) -> PipelineSpec:
        used = [("features.spine", self.features.spine), ("label.source", self.label.source)]
        used += [(f"features.views.{v.name}.source", v.source) for v in self.features.views]
        for where, source in used:
            if source not in self.sources:
                raise ValueError(f"`{where}` names the source `{source}`{_nearest(source, self.sources)}")
        return self


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline file with the contracts beside it, ready to run.

    Parameters
    ----------
    spec
        What the file says.
    contracts
        The contract of each source, by source name.
    directory
        Where the file lies; an entrypoint's code is looked up from the working directory and here.
    digest
        sha256 of the spec and the contracts: equal digests mean the same pipeline.
    code
        Source of the user's own model, where `training.model` names an entrypoint.
    """

    spec: PipelineSpec
    contracts: Mapping[str, Contract]
    directory: Path
    digest: str
    code: CodePackage | None = None


def load(path: str | Path, overrides: Sequence[str] = ()) -> Pipeline:
    """Return the pipeline that a file and its contracts describe.

    Parameters
    ----------
    path
        The pipeline file.
    overrides
        Changes such as `training.seed=8`, applied before anything is checked.

    Raises
    ------
    ConfigError
        With file, line and nearest valid key, when anything in it is wrong.
    """
    file = Path(path)
    spec = _load(PipelineSpec, file, overrides)
    _check_search(spec, file)
    contracts = {}
    for name, source in spec.sources.items():
        contract_file = file.parent / source.contract
        contracts[name] = load_contract(_read(contract_file, f"the contract of source `{name}`"), str(contract_file))
    _check_columns(spec, contracts, file)
    meaning = [spec.model_dump(mode="json", by_alias=True), {n: c.digest for n, c in sorted(contracts.items())}]
    digest = hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()
    return Pipeline(spec, contracts, file.parent.resolve(), digest, _code(spec, file.parent.resolve()))


def _code(spec: PipelineSpec, directory: Path) -> CodePackage | None:
    """Return the entrypoint's source: from beside the pipeline file, else from the working directory."""
    match spec.training.model:
        case Entrypoint(entrypoint=entrypoint):
            top = entrypoint.partition(":")[0].partition(".")[0]
            beside = (directory / top).is_dir() or (directory / f"{top}.py").is_file()
            return CodePackage.of(entrypoint, directory if beside else Path.cwd())
        case TabularMlp():
            return None


def load_environment(name: str) -> EnvironmentSpec:
    """Return the environment called `name` (`configs/env/<name>.yaml`), or that of a file.

    Raises
    ------
    ConfigError
        When there is no such file, or something in it is wrong.
    """
    file = Path(name) if name.endswith((".yaml", ".yml")) else Path("configs/env") / f"{name}.yaml"
    if file != Path(name) and not file.exists():
        known = [path.stem for path in file.parent.glob("*.yaml")]
        raise ConfigError(
            f"{file}: there is no environment `{name}` below {file.parent.resolve()}, and it "
            f"is not the path of a .yaml file{_nearest(name, known)}",
            file=str(file),
            line=None,
            key=name,
        )
    return _load(EnvironmentSpec, file, ())


def _load(model: type[S], file: Path, overrides: Sequence[str]) -> S:
    text = _read(file, "the configuration")
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


def _read(file: Path, what: str) -> str:
    try:
        return file.read_text()
    except OSError as error:
        raise ConfigError(f"{file}: {what} cannot be read: {error.strerror}", file=str(file), line=None) from error


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
    path = _in_file(location, lines)
    line = next(lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in lines)
    name = ".".join(str(p) for p in path) or "the file"
    match found["type"]:
        case "extra_forbidden":
            valid = _siblings(model, path[:-1])
            text = f"unknown key `{path[-1]}`{_nearest(str(path[-1]), valid)}"
        case "missing":
            text = f"`{name}` is required"
        case "union_tag_invalid" | "union_tag_not_found":
            context = found.get("ctx", {})
            tag, expected = context.get("tag"), context.get("expected_tags", "")
            valid = [t.strip(" '") for t in str(expected).split(",")]
            text = f"`{name}.kind` is {tag!r}{_nearest(str(tag), valid)}" if tag else f"`{name}` needs a `kind`"
        case _:
            message = str(found["msg"]).removeprefix("Value error, ")
            text = f"`{name}`: {message}" if path else message
    return ConfigError(f"{file}:{line}: {text}", file=str(file), line=line, key=name)


def _in_file(location: tuple[str | int, ...], lines: dict[_Path, int]) -> _Path:
    path: _Path = ()
    for index, part in enumerate(location):
        below = (*path, part)
        is_last = index == len(location) - 1
        if below in lines or is_last:
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


def _nearest(given: str, valid: Sequence[str] | Mapping[str, Any]) -> str:
    """Return what to say about a name that is not valid: the nearest one, else all."""
    close = difflib.get_close_matches(given, list(valid), n=1, cutoff=0.5)
    if close:
        return f": did you mean `{close[0]}`?"
    return f": valid here are {', '.join(sorted(valid))}" if valid else ""


def _check_search(spec: PipelineSpec, file: Path) -> None:
    """Every trial must be a model that can be built: better said now than after an hour of ingest."""
    for trial in trials_of(spec.search, spec.training.seed) if spec.search else ():
        try:
            with_parameters(spec.training.model, trial.parameters)
        except ConfigError as error:
            raise ConfigError(f"{file}: {error.message}", file=str(file), line=None, key=error.key) from error


def _check_columns(spec: PipelineSpec, contracts: Mapping[str, Contract], file: Path) -> None:
    """Every column that the file names must be in the contract that it is taken from."""
    spine = spec.features.spine
    used = [("features.prediction_time", spine, spec.features.prediction_time.column)]
    used += [("features.request", spine, c) for c in spec.features.request]
    used.append(("label.from", spec.label.source, spec.label.from_.column))
    for view in spec.features.views:
        where = f"features.views.{view.name}"
        used += [(where, view.source, c) for c in (*view.entity, *view.columns)]
        used += [(where, spine, c) for c in view.entity]
        used += [(where, view.source, e.column) for a in view.aggregate.values() for e in (a.mean, a.sum) if e]
    for where, source, column in used:
        names = [f.name for f in contracts[source].fields]
        if column not in names:
            raise ConfigError(
                f"{file}: `{where}` uses the column `{column}`, which the contract of `{source}` does not have"
                f"{_nearest(column, names)}",
                file=str(file),
                line=None,
                key=where,
            )
