"""Dead letters and replays as tables and sentences. Does not know how letters are kept, nor who asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from raypipe.config import Pipeline

if TYPE_CHECKING:
    import polars as pl

    from raypipe.adapters.dlq import Replayed

SHORT = 12
"""How much of a letter's id is shown in lists."""


def counts(letters: pl.DataFrame) -> pl.DataFrame:
    """Return how many letters there are by source, reason, contract version and status."""
    by = ["source", "reason", "contract_version", "status"]
    reasons = letters.explode("reasons").rename({"reasons": "reason"})
    # An unreadable object's reason says all that its reader said, which differs from object to object.
    short = reasons.with_columns(reasons["reason"].str.replace("^unreadable: .*$", "unreadable"))
    return short.group_by(by).len("letters").sort(by)


def show_replayed(done: Sequence[Replayed], pipeline: Pipeline, *, dry_run: bool) -> None:
    """Print what became of every letter, and what can be done about those that stay as they are."""
    from raypipe.adapters.lake.letters import Fate

    console = Console(highlight=False, soft_wrap=True)
    columns = ("source", "letters", "accepted", "duplicates", "still refused", "not a row")
    rows = [
        (
            r.source,
            len(r.fates) + len(r.refused) + len(r.rowless),
            *(r.count(Fate.ACCEPTED), r.count(Fate.DUPLICATE), len(r.refused), len(r.rowless)),
        )
        for r in done
    ]
    console.print(table(columns, rows))
    for r in done:
        _show_reasons(console, r.source, "still refused", r.refused)
        _show_reasons(console, r.source, "cannot be replayed", r.rowless)
        if r.rowless:
            console.print(
                f"  {r.source}: no contract can read these {len(r.rowless)}: land their records, or the whole objects, "
                "again in new objects, where rows that the lake has are duplicates; then drop these letters",
                markup=False,
            )
        if r.fates and pipeline.contracts[r.source].table_rules:
            console.print(f"  {r.source}: its rules on a table were not judged: they are measured on an ingest")
    if dry_run:
        console.print("nothing was changed (--dry-run)")


def _show_reasons(console: Console, source: str, what: str, letters: Mapping[str, Sequence[str]]) -> None:
    by_reason: dict[str, list[str]] = {}
    for letter, reasons in letters.items():
        for reason in reasons:
            by_reason.setdefault(reason, []).append(letter[:SHORT])
    for reason, ids in sorted(by_reason.items()):
        more = f", and {len(ids) - 3:,} more" if len(ids) > 3 else ""
        console.print(f"  {source}: {what}: {len(ids):,} x {reason}: {', '.join(ids[:3])}{more}", markup=False)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return rows as a table whose text is never taken for markup."""
    drawn = Table(box=None)
    for name in columns:
        drawn.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(f"{v:,}" if isinstance(v, int) else str(v)) for v in row))
    return drawn


def at(moment: datetime) -> str:
    """Return a time as a person reads it."""
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"
