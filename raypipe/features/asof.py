"""What was known of an entity at a moment: the latest row, or sums over a window.

One idea for both. A source's row becomes visible at `max(event_at, known_at)`: it has happened and somebody knows.
It stops mattering at `event_at + ttl` (latest row, the end included) or `event_at + over` (window, the end excluded).
Two orders of the rows, by visibility and by event, answer every question by binary search: O(n log n), any skew.
Knows two clocks; does not know files, slices or labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raypipe.features.exact import Floats, join, split
from raypipe.features.expression import column, evaluate, feature_values, known
from raypipe.features.timeline import Integers, Mask, Timeline, microseconds, number_entities
from raypipe.features.view import Aggregate, FeatureView

_MICROSECOND = timedelta(microseconds=1)


def join_as_of(spine: pa.Table, *, at: str, rows: pa.Table, view: FeatureView) -> pa.Table:
    """Return the spine, its rows and their order untouched, with the view's features as of each row's moment.

    A source's row is visible at t iff `event_at <= t` and `known_at <= t`; one that lacks either time never is.

    Latest row (`columns`, `ttl`): of the visible rows of the entity the one with the greatest `event_at`, among equals
    the greatest `known_at`, then the greatest `event_id`, then the greatest values. Null when that row's `event_at` is
    before t - ttl.

    Window (`aggregate`): over the visible rows of the entity with `event_at` in (t - over, t]. `count` counts rows and
    is 0 when there are none, because what is asked is how often something happened; whether the source was silent or
    dead is for its gate to notice. `sum` and `mean` are over the values that are neither null nor non-finite, and null
    when there are none: nothing measured is not a zero. All are float64, and exact (`raypipe.features.exact`).

    A spine row with a null key, or a null moment, has null features, counts too.

    Parameters
    ----------
    spine
        Any rows, with the view's entity columns.
    at
        The spine's column that holds the moment; timestamp.
    rows
        The source: `event_at`, `known_at`, the entity columns, what the view reads, and `event_id` where it has one.
    view
        What to join. Numbers come back as float64, strings, booleans and times as they are.

    Raises
    ------
    ConfigError
        When a column is missing or of a type that cannot be used.
    """
    moments, entities, source = _prepare(spine, at, rows, view)
    joined = spine
    features = _latest(moments, entities, source, view) if view.columns else _windows(moments, entities, source, view)
    for name, values in zip(view.feature_names, features, strict=True):
        joined = joined.append_column(name, values)
    return joined


@dataclass(frozen=True, slots=True)
class _Source:
    """Rows that can ever be visible, with their entity numbers and times in microseconds."""

    rows: pa.Table
    entities: Integers
    event: Integers
    known: Integers
    visible: Integers


def _prepare(spine: pa.Table, at: str, rows: pa.Table, view: FeatureView) -> tuple[Integers, Integers, _Source]:
    of = f"source `{view.source}`"
    moments, has_moment = microseconds(spine, at, of="the spine")
    event, has_event = microseconds(rows, "event_at", of=of)
    learned, has_known = microseconds(rows, "known_at", of=of)
    ours, theirs = number_entities(spine, rows, view.entity, source=view.source)
    kept = has_event & has_known & (theirs >= 0)
    if not kept.all():
        rows = rows.filter(pa.array(kept))
        event, learned, theirs = event[kept], learned[kept], theirs[kept]
    source = _Source(rows, theirs, event, learned, np.maximum(event, learned))
    return moments, np.where(has_moment, ours, -1), source


def _timelines(source: _Source) -> tuple[Timeline, Timeline]:
    """Return the rows in order of becoming visible, and in order of happening."""
    happened = Timeline.of(source.entities, source.event)
    if np.array_equal(source.visible, source.event):
        return happened, happened
    return Timeline.of(source.entities, source.visible), happened


def _latest(moments: Integers, entities: Integers, source: _Source, view: FeatureView) -> list[pa.Array[Any]]:
    assert view.ttl is not None
    visible, happened = _timelines(source)
    recency = _by_recency(source, happened, view)
    rank = np.empty(len(recency), np.int64)
    rank[recency] = np.arange(len(recency))
    # Ranks grow from entity to entity, so one running maximum over all of them never crosses a border.
    newest = recency[np.maximum.accumulate(rank[visible.order])]
    position = visible.position(entities, moments) - 1
    found = np.flatnonzero(position >= 0)
    row = newest[position[found]]
    alive = (source.entities[row] == entities[found]) & (source.event[row] >= moments[found] - view.ttl // _MICROSECOND)
    chosen = np.full(len(position), -1, np.int64)
    chosen[found[alive]] = row[alive]
    indices: Any = pa.array(chosen, mask=chosen < 0)
    of = f"source `{view.source}`"
    return [
        feature_values(column(source.rows, name, of=of), name=f"column {name!r} of {of}").take(indices)
        for name in view.columns
    ]


def _by_recency(source: _Source, happened: Timeline, view: FeatureView) -> Integers:
    """Return row numbers ordered by (entity, event_at, known_at, content): no two different rows are ever equal."""
    order = happened.order
    entities, event, learned = source.entities, source.event, source.known
    if not _repeats(order, entities, event).any():
        return order
    order = np.lexsort((learned, event, entities))
    if not _repeats(order, entities, event, learned).any():
        return order
    names = [n for n in ("event_id",) if n in source.rows.column_names] + list(view.columns)
    content = [
        pc.rank(column(source.rows, n, of=f"source `{view.source}`"), tiebreaker="dense").to_numpy() for n in names
    ]
    return np.lexsort((*reversed(content), learned, event, entities))


def _repeats(order: Integers, *keys: Integers) -> Mask:
    equal = np.ones(max(0, len(order) - 1), np.bool_)
    for key in keys:
        ordered = key[order]
        equal &= ordered[1:] == ordered[:-1]
    return equal


def _windows(moments: Integers, entities: Integers, source: _Source, view: FeatureView) -> list[pa.Array[Any]]:
    visible, happened = _timelines(source)
    entered = visible.position(entities, moments)
    unknown = entities < 0
    positions: dict[int, Integers] = {}
    features: list[pa.Array[Any]] = []
    for aggregate in view.aggregate.values():
        over = aggregate.over // _MICROSECOND
        if over not in positions:
            positions[over] = happened.position(entities, moments - over)
        left = positions[over]
        # Known only after its window had closed: it never counts, and must not be taken out either.
        counts = source.visible < source.event + over
        alive = _Alive(visible.order, happened.order, entered, left)
        values, missing = _aggregate(aggregate, source, counts, alive, view)
        features.append(pa.array(values, mask=missing | unknown))
    return features


@dataclass(frozen=True, slots=True)
class _Alive:
    """Sums over the rows that have entered and not yet left, for every spine row."""

    entering: Integers
    leaving: Integers
    entered: Integers
    left: Integers

    def sum(self, amounts: Integers) -> Integers:
        """Return what entered up to the moment minus what had left; entities before this one cancel out."""
        return _running(amounts[self.entering])[self.entered] - _running(amounts[self.leaving])[self.left]


def _running(amounts: Integers) -> Integers:
    total = np.zeros(len(amounts) + 1, np.int64)
    np.cumsum(amounts, out=total[1:])
    return total


def _aggregate(
    aggregate: Aggregate, source: _Source, counts: Mask, alive: _Alive, view: FeatureView
) -> tuple[Floats, Mask]:
    """Return the values and where there is none."""
    expression = aggregate.mean or aggregate.sum
    if expression is None:
        rows = alive.sum(counts.astype(np.int64)).astype(np.float64)
        return rows, np.zeros(len(rows), np.bool_)
    values = evaluate(source.rows, expression, of=f"source `{view.source}`")
    measured = counts & known(values)
    amounts = np.where(measured, values.fill_null(0.0).to_numpy(), 0.0)
    number = alive.sum(measured.astype(np.int64))
    total = join({place: alive.sum(digit) for place, digit in split(amounts).items()}, len(number))
    if aggregate.mean:
        total = total / np.maximum(number, 1)
    return total, (number == 0) | ~np.isfinite(total)
