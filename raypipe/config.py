"""The user's one file, and the contracts beside it, as frozen specs that fit each other.

Only composes the specs that live beside their domains. Does not know what the stages do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, model_validator

from raypipe.contracts.contract import Contract
from raypipe.contracts.odcs import load_contract
from raypipe.contracts.relationships import check_related
from raypipe.contracts.source import SourceSpec
from raypipe.drift.spec import MonitorSpec, OnQuality, TriggersSpec
from raypipe.environment import EnvironmentSpec
from raypipe.errors import ConfigError, ContractError
from raypipe.features.view import FeaturesSpec, LabelSpec
from raypipe.rollout.spec import ReleaseSpec
from raypipe.spec import Spec, format_duration
from raypipe.spec_file import load_spec, nearest, read_text
from raypipe.training.code import CodePackage
from raypipe.training.search import SearchSpec, possible_of, with_parameters
from raypipe.training.spec import Entrypoint, TabularMlp, TrainingSpec, ValidationSpec


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
                raise ValueError(f"`{where}` names the source `{source}`{nearest(source, self.sources)}")
        return self

    @model_validator(mode="after")
    def _labels_come_within_the_window(self) -> PipelineSpec:
        window, matures = self.monitor.window, self.label.matures_within
        judged = any(isinstance(t, OnQuality) for t in self.triggers.any_of)
        if window is not None and window < matures and judged:
            raise ValueError(
                f"`monitor.window` is {format_duration(window)}, and labels take up to {format_duration(matures)} "
                "(`label.matures_within`), so quality would have few labels or none: make the window longer, leave it "
                "out (a day longer than labels take), or take `quality` out of `triggers.any_of`"
            )
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
    spec = load_spec(PipelineSpec, file, overrides)
    _check_search(spec, file)
    contracts = {}
    for name, source in spec.sources.items():
        contract_file = file.parent / source.contract
        contracts[name] = load_contract(
            read_text(contract_file, f"the contract of source `{name}`"), str(contract_file)
        )
    _check_columns(spec, contracts, file)
    _check_history(spec, contracts, file)
    _check_relationships(contracts, file)
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
            f"is not the path of a .yaml file{nearest(name, known)}",
            file=str(file),
            line=None,
            key=name,
        )
    return load_spec(EnvironmentSpec, file, ())


def _check_search(spec: PipelineSpec, file: Path) -> None:
    """Every trial must be a model that can be built: better said now than after an hour of ingest."""
    for trial in possible_of(spec.search, spec.training.seed) if spec.search else ():
        try:
            with_parameters(spec.training.model, trial.parameters)
        except ConfigError as error:
            raise ConfigError(f"{file}: {error.message}", file=str(file), line=None, key=error.key) from error


def _check_relationships(contracts: Mapping[str, Contract], file: Path) -> None:
    """Every relationship must lead to a source of this pipeline."""
    try:
        check_related(contracts)
    except ContractError as error:
        raise ContractError(f"{file}: {error.message}", file=str(file), line=None, key=error.key) from error


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
                f"{nearest(column, names)}",
                file=str(file),
                line=None,
                key=where,
            )


def _check_history(spec: PipelineSpec, contracts: Mapping[str, Contract], file: Path) -> None:
    """Every column that is compared with its past must be in the source's contract."""
    for source, of_source in spec.sources.items():
        history, names = of_source.history, [f.name for f in contracts[source].fields]
        for rule, shares in (("null_rate", history.null_rate), ("category_share", history.category_share)):
            for column in shares.columns if shares else ():
                if column not in names:
                    where = f"sources.{source}.history.{rule}.columns"
                    raise ConfigError(
                        f"{file}: `{where}` names the column `{column}`, which the contract of `{source}` does not "
                        f"have{nearest(column, names)}",
                        file=str(file),
                        line=None,
                        key=where,
                    )
