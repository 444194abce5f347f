"""A report as one HTML page that needs nothing else: no script, no font, no picture from anywhere.

Everything that comes from data is escaped by the template engine. Knows the report; does not know how it was made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from raypipe.contracts.generation_profile import ColumnSummary
from raypipe.reports.ingest import IngestReport, PastGeneration, ShownColumn
from raypipe.reports.pictures import bars, share
from raypipe.verdict import Status

_WORDS = {
    Status.PASSED: "Every row kept the contract.",
    Status.WARNED: "All rows were let in, with warnings.",
    Status.QUARANTINED: "Bad rows were set aside, the others are in the lake.",
    Status.HALTED: "Stopped: no row of this generation is in the lake.",
    Status.INSUFFICIENT: "There was nothing to judge.",
}
_MOST_BARS = 12
_MOST_PANELS = 24
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Panel:
    """One small picture with a caption and the number that it ends with."""

    caption: str
    number: str
    picture: Markup


def page(report: IngestReport) -> str:
    """Return the report as HTML."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": _count, "rate": _rate}
    return environment.get_template("ingest.html.jinja").render(
        report=report,
        words=_WORDS.get(report.verdict, ""),
        reasons=[f for f in report.findings if f.status is report.verdict],
        letters=[(r, list(dict.fromkeys(n for x in r.letters for n in x.values or ()))) for r in report.reasons],
        columns=[(c, _distribution(c), _null_share(c), _range(c)) for c in report.columns],
        panels=_panels(report.history),
    )


def _count(number: float) -> str:
    return f"{number:,}"


def _rate(rate: float) -> str:
    """Return a share in percent; what is more than nothing never reads as nothing."""
    return "under 0.01 %" if 0 < rate < 0.0001 else f"{rate * 100:.3g} %"


def _null_share(column: ShownColumn) -> Markup:
    counts = column.summary.counts
    rate = counts.nulls / counts.rows if counts.rows else 0.0
    return share(rate, f"{_rate(rate)} null")


def _distribution(column: ShownColumn) -> Markup | None:
    """Return the picture of a column's values; None where there is nothing to draw."""
    summary = column.summary
    if summary.counts.categories:
        ranked = sorted(summary.counts.categories, key=lambda c: (-c[1], c[0]))[:_MOST_BARS]
        titles = [f"{value}: {n:,}" for value, n in ranked]
        return bars([n for _, n in ranked], titles, f"the most frequent values: {', '.join(titles[:3])}")
    if summary.histogram:
        return bars(summary.histogram, _steps(column, summary), "histogram of a sample")
    return None


def _steps(column: ShownColumn, summary: ColumnSummary) -> list[str]:
    rows = [f"{n:,} of {sum(summary.histogram):,} sampled rows" for n in summary.histogram]
    if not summary.quantiles:
        return rows
    low, high = summary.quantiles[1], summary.quantiles[-2]
    width = (high - low) / len(rows)
    return [f"from {_value(low + i * width, column.type)}: {text}" for i, text in enumerate(rows)]


def _range(column: ShownColumn) -> str:
    """Return the column's values in words."""
    summary = column.summary
    counts = summary.counts
    if not column.public:
        return "not shown: the contract does not classify this column as public"
    if counts.minimum is not None and counts.maximum is not None and summary.quantiles:
        low, middle, high = (
            _value(x, column.type)
            for x in (counts.minimum, summary.quantiles[len(summary.quantiles) // 2], counts.maximum)
        )
        return f"{low} to {high}, half are at most {middle}"
    if counts.categories:
        ranked = sorted(counts.categories, key=lambda c: (-c[1], c[0]))
        total = sum(n for _, n in ranked)
        named = ", ".join(f"{value} {_rate(n / total)}" for value, n in ranked[:3])
        return f"{len(ranked)} {'value' if len(ranked) == 1 else 'values'}: {named}"
    return "many values" if counts.categories is None and counts.nulls < counts.rows else "no value"


def _value(number: float, kind: str) -> str:
    if kind.startswith("timestamp"):
        return f"{_EPOCH + timedelta(seconds=number):%Y-%m-%d %H:%M}"
    if kind.startswith("date"):
        return f"{_EPOCH + timedelta(seconds=number):%Y-%m-%d}"
    return f"{number:,.6g}"


def _panels(history: Sequence[PastGeneration]) -> list[Panel]:
    """Return small multiples: rows, dead letters, and the nulls of each column that has had any."""
    if not history:
        return []
    rows = [float(g.rows) for g in history]
    refused = [g.dead_letters / g.rows if g.rows else 0.0 for g in history]
    found = [
        _panel("rows", rows, [f"{n:,.0f}" for n in rows], history),
        _panel("refused", refused, [_rate(r) for r in refused], history),
    ]
    names = dict.fromkeys(n for g in history for n, rate in g.null_rates.items() if rate)
    for name in list(names)[:_MOST_PANELS]:
        rates = [g.null_rates.get(name, 0.0) for g in history]
        found.append(_panel(f"nulls of {name}", rates, [_rate(r) for r in rates], history))
    return found


def _panel(caption: str, values: Sequence[float], told: Sequence[str], history: Sequence[PastGeneration]) -> Panel:
    titles = [f"generation {g.generation}, {g.at:%Y-%m-%d %H:%M}: {t}" for g, t in zip(history, told, strict=True)]
    label = f"{caption} over {len(values)} generations, now {told[-1]}"
    return Panel(caption, told[-1], bars(values, titles, label, last=True))
