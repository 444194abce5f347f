"""Whether a generation looks like those before it: its rows by day, its nulls, the shares of its categories.

Values in, findings out. A difference counts only when chance alone does not explain it: the whole interval of the
difference lies beyond the limit, so that twenty rows do not stop a source. Too little history is NOT_APPLICABLE:
recorded, neither pass nor fail. Knows counts; does not know rows, tables of the lake, or what a halt does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import reduce
from statistics import median

from raypipe.contracts.contract import Contract
from raypipe.contracts.generation_profile import ColumnCounts
from raypipe.contracts.history_spec import HistorySpec, RowCountHistory, Severity, ShareHistory
from raypipe.stats.proportions import count_ratio, share_difference
from raypipe.verdict import Finding, Status

# A generation is compared in dozens of shares: at 95 % one of them would be wrong every day.
_CONFIDENCE = 0.999
_NAMED_DAYS = 3


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What a generation brought.

    Parameters
    ----------
    at
        Wall time of its ingestion, aware UTC.
    days
        Accepted rows by event date (UTC).
    columns
        Exact counts by column, of the rows that keep the contract.
    """

    at: datetime
    days: Mapping[date, int]
    columns: Mapping[str, ColumnCounts]


@dataclass(frozen=True, slots=True)
class Past:
    """What there was before it.

    Parameters
    ----------
    generations
        Those committed, the oldest first.
    days
        Rows of the lake by event date, of all generations.
    """

    generations: tuple[Arrivals, ...]
    days: Mapping[date, int]


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is compared, in words: the source, the limit's place in the file, and what follows when it is broken."""

    source: str
    setting: str
    severity: Severity

    @property
    def status(self) -> Status:
        return Status.HALTED if self.severity == "halt" else Status.WARNED

    def advice(self, limit: str) -> str:
        what = "look at the source, then let it in or skip it" if self.severity == "halt" else "look at the source"
        return f"{what}, or change sources.{self.source}.history.{self.setting}.{limit}"


def compare(spec: HistorySpec, contract: Contract, source: str, now: Arrivals, past: Past) -> tuple[Finding, ...]:
    """Return a finding for each comparison that the file asks for.

    Parameters
    ----------
    contract
        Says which columns are `public`: the values of others are not named in a message.
    source
        Its name, for the messages.
    """
    found: list[Finding] = []
    if spec.row_count is not None:
        found.append(_row_count(spec.row_count, source, now, past))
    if spec.null_rate is not None:
        found += _of_columns(spec.null_rate, "null_rate", contract, source, now, past)
    if spec.category_share is not None:
        found += _of_columns(spec.category_share, "category_share", contract, source, now, past)
    return tuple(found)


def judged_days(now: Arrivals, generations: Sequence[Arrivals]) -> tuple[date, ...]:
    """Return the days that this generation is the first to bring rows for since they are over.

    A day is judged once, when it is whole as far as anybody can know: not while it is going on, and not again for
    those who come late. The days of a backfill are over when they arrive.
    """
    before = {day for g in generations for day in g.days if day < g.at.date()}
    return tuple(sorted(day for day in now.days if day < now.at.date() and day not in before))


def _row_count(spec: RowCountHistory, source: str, now: Arrivals, past: Past) -> Finding:
    total = {day: past.days.get(day, 0) + now.days.get(day, 0) for day in {*past.days, *now.days}}
    days = judged_days(now, past.generations)
    seen = {day: _same_weekday(total, day, spec.weeks) for day in days}
    known = [day for day in days if len(seen[day]) >= spec.min_days]
    if not known:
        reason = (
            f"at most {max((len(s) for s in seen.values()), default=0)} of the {spec.weeks} same weekdays before have "
            f"rows, {spec.min_days} are needed"
            if days
            else "no day is over that was not judged before"
        )
        return Finding("row_count", Status.NOT_APPLICABLE, f"rows by day of `{source}` were not compared: {reason}")
    ratios = {day: total[day] / median(seen[day]) for day in known}
    far = [d for d in known if _is_far(spec, total[d], seen[d])]
    if far:
        return _far_days(spec, source, {d: ratios[d] for d in far}, total, sum(now.days[d] for d in far))
    return _near_days(spec, source, list(ratios.values()))


def _near_days(spec: RowCountHistory, source: str, ratios: Sequence[float]) -> Finding:
    """Return the finding where no day is surely beyond the limits: within them, or with too few rows to tell."""
    near = [ratio for ratio in ratios if spec.min_ratio <= ratio <= spec.max_ratio]
    allowed = f"between {_percent(spec.min_ratio)} and {_percent(spec.max_ratio)} is allowed"
    chance = ""
    if len(near) < len(ratios):
        furthest = min(ratios, key=lambda ratio: min(ratio, 1 / ratio))
        chance = (
            f", {len(ratios) - len(near)} of {len(ratios)} days are beyond that, the furthest has {_percent(furthest)},"
            " and so few rows may differ more by chance"
        )
    if not near:
        said = f"rows by day of `{source}`, beside the same weekdays before: {allowed}{chance}"
        return Finding("row_count", Status.NOT_APPLICABLE, said)
    said = (
        f"{len(near)} days of `{source}` have {_percent(min(near))} to {_percent(max(near))} of the rows of the same "
        f"weekdays before, {allowed}{chance}"
    )
    return Finding("row_count", Status.PASSED, said, observed=min(near))


def _far_days(
    spec: RowCountHistory, source: str, ratios: Mapping[date, float], total: Mapping[date, int], rows: int
) -> Finding:
    subject = _Subject(source, "row_count", spec.severity)
    worst = min(ratios, key=lambda d: min(ratios[d], 1 / ratios[d]))
    few = ratios[worst] < 1
    bound, limit = ("at least", spec.min_ratio) if few else ("at most", spec.max_ratio)
    days = [worst, *(d for d in ratios if d != worst)]
    told = [
        f"{d} ({d:%A}) has {total[d]} rows, the same weekdays before have {total[d] / ratios[d]:g}"
        for d in days[:_NAMED_DAYS]
    ]
    more = f" and {len(days) - _NAMED_DAYS} more days" if len(days) > _NAMED_DAYS else ""
    said = (
        f"`{source}`: {'; '.join(told)}{more}: {_percent(ratios[worst])}, {bound} {_percent(limit)} is allowed: "
        f"{subject.advice('min_ratio' if few else 'max_ratio')}"
    )
    return Finding("row_count", subject.status, said, observed=ratios[worst], limit=limit, rows=rows)


def _same_weekday(total: Mapping[date, int], day: date, weeks: int) -> list[int]:
    """Return the rows of the same weekday in the weeks before, where there are any."""
    before = (total.get(day - timedelta(weeks=w), 0) for w in range(1, weeks + 1))
    return [rows for rows in before if rows]


def _is_far(spec: RowCountHistory, rows: int, seen: Sequence[int]) -> bool:
    low, high = count_ratio(rows, median(seen), len(seen), _CONFIDENCE)
    return high < spec.min_ratio or low > spec.max_ratio


def _of_columns(
    spec: ShareHistory, rule: str, contract: Contract, source: str, now: Arrivals, past: Past
) -> Iterator[Finding]:
    last = past.generations[-spec.generations :]
    names = spec.columns or tuple(now.columns)
    public = {f.name for f in contract.fields if f.classification == "public"}
    if len(last) < spec.min_generations:
        said = f"`{source}` was not compared: {len(last)} generations came before, {spec.min_generations} are needed"
        yield Finding(rule, Status.NOT_APPLICABLE, f"{rule} of {said}")
        return
    for name in names:
        before = reduce(ColumnCounts.merge, (g.columns[name] for g in last if name in g.columns), ColumnCounts())
        mine = now.columns.get(name, ColumnCounts())
        subject = _Subject(source, rule, spec.severity)
        if rule == "null_rate":
            shares = {"null": ((mine.nulls, mine.rows), (before.nulls, before.rows))}
        else:
            shares = _categories(mine, before, shown=name in public)
        if shares and mine.rows and before.rows:
            yield _shares(spec, subject, f"{rule}({name})", name, shares, len(last))
        elif spec.columns:
            said = f"`{name}` of `{source}` has no shares to compare, now or before: it has no rows, or many values"
            yield Finding(f"{rule}({name})", Status.NOT_APPLICABLE, said)


_Counted = tuple[int, int]


def _categories(mine: ColumnCounts, before: ColumnCounts, *, shown: bool) -> dict[str, tuple[_Counted, _Counted]]:
    """Return how often each value occurs among those that are not null, now and before."""
    if mine.categories is None or before.categories is None:
        return {}
    one, other = dict(mine.categories), dict(before.categories)
    rows, past = sum(one.values()), sum(other.values())
    values = sorted({*one, *other}) if rows and past else []
    words = {v: f"`{v}`" if shown else f"value {n} of {len(values)}" for n, v in enumerate(values, start=1)}
    return {words[v]: ((one.get(v, 0), rows), (other.get(v, 0), past)) for v in values}


def _shares(
    spec: ShareHistory,
    subject: _Subject,
    rule: str,
    name: str,
    shares: Mapping[str, tuple[_Counted, _Counted]],
    generations: int,
) -> Finding:
    """Return the finding about the share that is furthest from where it was."""

    def difference(what: str) -> float:
        (count, rows), (past_count, past_rows) = shares[what]
        return abs(count / rows - past_count / past_rows)

    far = [w for w in shares if _beyond(*shares[w], spec.max_difference)]
    what = max(far or shares, key=difference)
    (count, rows), (past_count, past_rows) = shares[what]
    observed, limit = difference(what), spec.max_difference
    said = (
        f"{_percent(count / rows)} of `{name}` of `{subject.source}` is {what} ({count} of {rows}), in the "
        f"{generations} generations before {_percent(past_count / past_rows)}"
    )
    allowed = f"a difference of {100 * limit:.3g} points is allowed"
    if far:
        status, said = subject.status, f"{said}: {allowed}: {subject.advice('max_difference')}"
    elif observed > limit:
        status, said = Status.NOT_APPLICABLE, f"{said}: {allowed}, and so few rows may differ more by chance"
    else:
        status, said = Status.PASSED, f"{said}: {allowed}"
    return Finding(rule, status, said, observed=observed, limit=limit, rows=count if far else 0)


def _beyond(now: _Counted, before: _Counted, limit: float) -> bool:
    low, high = share_difference(now, before, _CONFIDENCE)
    return low > limit or high < -limit


def _percent(rate: float) -> str:
    return f"{rate * 100:.3g} %"
