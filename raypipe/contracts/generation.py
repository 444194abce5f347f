"""A generation of a source as it is remembered: its counts, its rows by day and its profile.

Knows counts. Does not know the rows, nor where this is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from raypipe.contracts.gate import GateEvidence
from raypipe.contracts.generation_profile import ColumnSummary
from raypipe.contracts.history import Arrivals
from raypipe.verdict import Status


@dataclass(frozen=True, slots=True)
class Generation:
    """What one generation brought, and what was made of it.

    Parameters
    ----------
    number
        Of its manifest, from 1.
    at
        Wall time of its ingestion, aware UTC.
    verdict
        The gate's.
    counts
        What happened to its rows.
    days
        Accepted rows by event date (UTC).
    columns
        What the rows that keep the contract looked like, duplicates included.
    newest_event_at
        When the latest of these events happened; None without any.
    """

    number: int
    at: datetime
    verdict: Status
    counts: GateEvidence
    days: Mapping[date, int]
    columns: Mapping[str, ColumnSummary]
    newest_event_at: datetime | None = None

    @property
    def arrivals(self) -> Arrivals:
        """What others are compared with."""
        return Arrivals(self.at, self.days, {name: c.counts for name, c in self.columns.items()})
