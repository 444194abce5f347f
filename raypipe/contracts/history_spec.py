"""What the user's file says about comparing a generation with those before it. Does not know how they are compared."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from raypipe.spec import Spec

MOST_GENERATIONS = 60
"""No comparison looks further back, so that history stays cheap to read."""
Severity = Literal["warn", "halt"]
Rate = Annotated[float, Field(gt=0, le=1)]


class RowCountHistory(Spec):
    """How far the rows of a day may be from the same weekday of the weeks before."""

    weeks: int = Field(default=8, ge=1)
    """How many weeks before the day are looked at."""
    min_days: int = Field(default=3, ge=1)
    """Fewer past days that have rows tell nothing."""
    min_ratio: float = Field(default=0.5, ge=0, lt=1)
    """Fewest rows allowed, as a multiple of the median of those days."""
    max_ratio: float = Field(default=2.0, gt=1)
    """Most rows allowed, as a multiple of the median of those days."""
    severity: Severity = "warn"

    @model_validator(mode="after")
    def _enough_days_exist(self) -> RowCountHistory:
        if self.min_days > self.weeks:
            raise ValueError(
                f"`min_days` is {self.min_days}, and {self.weeks} weeks (`weeks`) hold only {self.weeks} days of the "
                "same weekday: look further back, or ask for fewer"
            )
        return self


class ShareHistory(Spec):
    """How far the shares of a column may be from those of the last generations taken together."""

    columns: tuple[str, ...] = ()
    """The columns that are compared; none means all."""
    max_difference: Rate = 0.1
    """Largest difference of two shares allowed, 0..1, so 0.1 is ten percentage points."""
    generations: int = Field(default=10, ge=1, le=MOST_GENERATIONS)
    """How many past generations are taken together."""
    min_generations: int = Field(default=3, ge=1)
    """Fewer past generations tell nothing."""
    severity: Severity = "warn"

    @model_validator(mode="after")
    def _enough_generations_exist(self) -> ShareHistory:
        if self.min_generations > self.generations:
            raise ValueError(
                f"`min_generations` is {self.min_generations}, and only {self.generations} (`generations`) are looked "
                "at: look at more, or ask for fewer"
            )
        return self


class HistorySpec(Spec):
    """Which comparisons with the past a generation must stand; none by default."""

    row_count: RowCountHistory | None = None
    """Rows by event date, each with the same weekday of the weeks before."""
    null_rate: ShareHistory | None = None
    """Share of nulls of each column."""
    category_share: ShareHistory | None = None
    """Share of each value of columns with few values: text, booleans, and integers with valid values."""
