"""What the user's file says about releasing a candidate. Does not know how traffic is moved."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from raypipe.spec import Duration, Spec


class ReleaseSpec(Spec):
    """How a candidate takes over."""

    replicas: int = Field(default=1, ge=1)
    """Gateway replicas, each with the champion in its own process."""
    cpus_per_replica: float = Field(default=0.5, gt=0)
    """Logical CPUs that Ray reserves for a gateway replica."""
    deadline: Duration = timedelta(minutes=5)
    """How long the candidate may take to be loaded and to pass its smoke test in every replica."""
