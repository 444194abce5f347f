"""What a gateway is told to serve: the projection of each model's last release decision into Serve's `user_config`.

Each model has its own release stream, hence its own generation. Holds names and addresses, never a secret. Does not
know how a bundle is loaded.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from raypipe.columns import Column
from raypipe.environment import StoreAddress
from raypipe.spec import Spec

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class VersionConfig(Spec):
    """One version of a model that every replica holds ready."""

    version: Name
    """Version that answers carry and that a URL can pin."""
    digest: str = Field(min_length=1)
    """Digest of the bundle, verified before it is loaded."""
    bundle: str = Field(min_length=1)
    """URI of the bundle."""


class ChallengerConfig(Spec):
    """A version that answers a share of the requests, or copies of them, from an application of its own."""

    version: Name
    """Version that answers carry and that a URL can pin."""
    digest: str = Field(min_length=1)
    """Digest of its bundle."""
    application: str = Field(min_length=1)
    """The Serve application that runs it."""
    columns: tuple[Column, ...] = Field(min_length=1)
    """Its inputs; a request that lacks one of them is one that it fails."""
    percent: float = Field(default=0, ge=0, le=50)
    """Share of the units whose requests it answers."""
    shadow_percent: float = Field(default=0, ge=0, le=100)
    """Share of the units whose requests are copied to it; no user sees its answers."""
    salt: str = Field(min_length=1)
    """Of the split: another one for each rollout."""
    unit_header: str | None = None
    """Request header that names the unit kept on one arm; lower case."""
    unit_field: str | None = None
    """Request column that names the unit kept on one arm."""
    timeout_ms: float = Field(default=1000, gt=0)
    """How long the gateway waits for it before the champion answers."""
    lease_s: float = Field(default=30, gt=0)
    """A replica that is not asked for evidence for so long lets the champion answer everything."""


class ModelConfig(Spec):
    """One model of the endpoint: what is loaded for it, and who answers."""

    name: Name
    """Name in the URL."""
    generation: int = Field(ge=1)
    """Number of the decision in this model's release stream that orders this: the epoch that its answers carry."""
    loaded: tuple[VersionConfig, ...]
    """What each replica holds ready, reachable by its pinned version; empty withdraws the model."""
    champion: Name | None = None
    """Which of the loaded versions answers requests that pin none; none while the first candidate is prepared."""
    rollout: str | None = None
    """The rollout under way, told in every answer; none where there is none."""
    challenger: ChallengerConfig | None = None
    """Who answers a share of the requests in this rollout; none outside of one, and while nothing is split."""

    @model_validator(mode="after")
    def _consistent(self) -> ModelConfig:
        versions = [v.version for v in self.loaded]
        if len(set(versions)) != len(versions):
            raise ValueError(f"model {self.name} loads a version twice: {', '.join(versions)}")
        if self.champion is not None and self.champion not in versions:
            raise ValueError(f"model {self.name}: champion {self.champion} is not among loaded {', '.join(versions)}")
        if self.challenger and (self.champion is None or self.rollout is None):
            raise ValueError(f"model {self.name} has a challenger, but no champion that it challenges, or no rollout")
        return self


class GatewayConfig(Spec):
    """Everything a gateway replica needs: its models, each at its generation, and where their bundles are."""

    models: tuple[ModelConfig, ...] = Field(min_length=1)
    """The models of the endpoint; names are unique."""
    store: StoreAddress
    """Where the bundles are; its secrets are named, and read in the replica."""
    max_rows: int = Field(default=10_000, ge=1)
    """Rows that one request may have."""
    max_body_bytes: int = Field(default=8_000_000, ge=1)
    """Bytes that one request's body may have, also after decompression."""

    @model_validator(mode="after")
    def _unique(self) -> GatewayConfig:
        names = [m.name for m in self.models]
        if len(set(names)) != len(names):
            raise ValueError(f"a model is named twice in {', '.join(names)}: an endpoint serves each name once")
        return self
