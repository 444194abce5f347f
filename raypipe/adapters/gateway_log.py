"""What a gateway offers to the prediction log: every answer, and every pair of a shadow copy. Values, and a seam."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
import pyarrow as pa


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """One answered request.

    Parameters
    ----------
    at
        When it was answered, aware UTC.
    request_id
        The caller's, or the one that it was given.
    model
        Name in the URL.
    unit, unit_kind
        What is kept on one arm, and what it is: `header`, `field` or `request`.
    assigned_arm, answered_by
        `champion` or `challenger`: what the split said, and whose scores these are.
    fallback_reason
        Why the champion answered for the challenger: `error`, `timeout`, `circuit`, `lease`; None where it did not.
    version
        Of the model whose scores these are.
    rollout, epoch
        The rollout under way, None without one, and the generation in force.
    table, scores
        The inputs, and float64 scores of shape (rows,).
    latency_ms
        From the parsed request to the scores.
    status
        HTTP status.
    """

    at: datetime
    request_id: str
    model: str
    unit: str
    unit_kind: str
    assigned_arm: str
    answered_by: str
    fallback_reason: str | None
    version: str
    rollout: str | None
    epoch: int
    table: pa.Table
    scores: np.ndarray
    latency_ms: float
    status: int = 200


@dataclass(frozen=True, slots=True, eq=False)
class Paired:
    """One request that both models scored, or that the challenger failed.

    Parameters
    ----------
    champion_scores, challenger_scores
        float64, shape (rows,); None for the one that failed.
    error
        Why the challenger failed.
    """

    at: datetime
    request_id: str
    model: str
    unit: str
    rollout: str
    epoch: int
    champion_version: str
    challenger_version: str
    champion_scores: np.ndarray | None
    challenger_scores: np.ndarray | None
    error: str | None


class Recorder(Protocol):
    """Takes note; returns at once and never raises."""

    def answered(self, row: Answered) -> None:
        """Take note of an answer."""

    def paired(self, row: Paired) -> None:
        """Take note of a pair."""


class Unrecorded:
    """A recorder that takes no note."""

    def answered(self, row: Answered) -> None:
        """Forget it."""

    def paired(self, row: Paired) -> None:
        """Forget it."""
