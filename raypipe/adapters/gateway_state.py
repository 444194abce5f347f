"""What a gateway replica holds: models, who answers for each, and how that looks from outside. Values, and no HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyarrow as pa

from raypipe.adapters.gateway_config import ModelConfig, VersionConfig
from raypipe.columns import Column
from raypipe.environment import StoreAddress
from raypipe.errors import BundleRefused
from raypipe.rollout.evidence import StepEvidence


class Scorer(Protocol):
    """A loaded model: `raypipe.scoring.Scorer`, or a fake."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The model's inputs."""

    def score(self, table: pa.Table) -> np.ndarray:
        """Return float64 scores of shape (n,)."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A bundle in memory: its scorer, and a few rows that it must be able to score."""

    scorer: Scorer
    example: pa.Table


Loader = Callable[[StoreAddress, VersionConfig], Loaded]
"""Fetches a bundle and verifies its digest; raises `BundleRefused` or `Unavailable`."""


@dataclass(frozen=True, slots=True)
class Serving:
    """One loaded version of a model, with the Arrow schema of its inputs."""

    name: str
    version: str
    digest: str
    scorer: Scorer
    schema: pa.Schema


@dataclass(frozen=True, slots=True)
class Model:
    """One model of the endpoint: the order in force, who answers (None: nobody), every version that can be pinned."""

    config: ModelConfig
    champion: Serving | None
    versions: Mapping[str, Serving]
    since: float = field(default_factory=time.monotonic)
    """When this order was prepared, on the clock of `time.monotonic`: its challenger's lease begins here."""


@dataclass(frozen=True, slots=True)
class GatewayState:
    """What is in force; replaced whole, never changed."""

    models: Mapping[str, Model] = field(default_factory=dict)
    max_rows: int = 0
    max_body_bytes: int = 0

    @property
    def ready(self) -> bool:
        """Whether a model answers and none lacks the champion it should have; one without a champion yet lacks none."""
        models = self.models.values()
        return any(m.champion for m in models) and all(m.champion or not m.config.champion for m in models)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model whose bundles were tried: what can answer, why the rest (`model/version`) cannot, and what of it may yet.

    Parameters
    ----------
    away
        Those of `refused` that the store did not give.
    """

    model: Model
    refused: Mapping[str, str]
    away: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RolloutEvidence:
    """What one replica counted in a rollout.

    Parameters
    ----------
    rollout
        Whose counts these are.
    by_generation
        Cumulative counts under each generation of it.
    lease_left_s
        For how long the challenger may still answer unless somebody asks again.
    """

    rollout: str
    by_generation: Mapping[int, StepEvidence]
    lease_left_s: float


@dataclass(frozen=True, slots=True)
class GatewayStatus:
    """What one replica does and what it was told.

    Parameters
    ----------
    epochs, wanted
        The generation in force and the highest one it was told of, by model.
    champions
        The version that answers, by model.
    loaded
        Digest by version, by model.
    refused
        Why something wanted is not in force, by `model/version`; by `model` when one generation orders two things;
        by `user_config` when the last order could not be read at all.
    evidence
        What was counted in the rollout under way, or the last one, by model.
    """

    epochs: Mapping[str, int]
    wanted: Mapping[str, int]
    champions: Mapping[str, str]
    loaded: Mapping[str, Mapping[str, str]]
    refused: Mapping[str, str]
    evidence: Mapping[str, RolloutEvidence] = field(default_factory=dict)


def warm(wanted: VersionConfig, loaded: Loaded) -> Scorer:
    """Return the scorer once it has scored its example, and the first row of it alone: one finite number for each row.

    Raises
    ------
    BundleRefused
        When it answers with anything else, or the example has no rows to answer.
    """
    # Most requests have one row, and a module may answer several well and drop the dimension of one.
    for example in (loaded.example, loaded.example.slice(0, 1)):
        rows = example.num_rows
        scores = loaded.scorer.score(example)
        if rows == 0 or scores.shape != (rows,) or scores.dtype != np.float64 or not np.isfinite(scores).all():
            raise BundleRefused(
                f"version {wanted.version} scores {rows} rows of its example as {scores!r:.100} of shape "
                f"{scores.shape}, expected shape ({rows},) of finite float64, at least one: train it again, or release "
                "another version",
                digest=wanted.digest,
            )
    return loaded.scorer
