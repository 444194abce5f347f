"""Rows to train on: the request, what was known at prediction time, and the truth that came out later.

Knows the spine, the views and the label. Does not know how their rows were found.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raypipe.errors import ConfigError
from raypipe.features.asof import join_as_of
from raypipe.features.expression import TIMESTAMP, column, evaluate
from raypipe.features.timeline import microseconds
from raypipe.features.view import FeaturesSpec, FeatureView, LabelSpec, Moment

_OWN = ("event_id", "event_at", "prediction_at", "known_at", "label")


def build_examples(
    *,
    spine: pa.Table,
    sources: Mapping[str, pa.Table],
    features: FeaturesSpec,
    label: LabelSpec,
    label_rows: pa.Table,
) -> pa.Table:
    """Return one example for each spine row, in the spine's order.

    Columns: `event_id`, `event_at`, `prediction_at`, `known_at` (when the label was known), the features in the order
    of `features.feature_names`, `label` (float64). `known_at` is null exactly where `label` is: not known, not zero.
    Any split of the spine, concatenated again, gives the same examples.

    Parameters
    ----------
    spine
        Accepted rows of `features.spine`.
    sources
        Rows of every source that a view reads; each at least those with `event_at` within the view's lookback of a
        prediction and `known_at` up to it.
    label_rows
        Rows of `label.source`; at least those within `label.matures_within` of a spine row's event, which are the only
        ones that can be its label. Of several with one event id the last known is the truth.

    Raises
    ------
    ConfigError
        When a source is not there, a column is missing or has the wrong type, or two features share a name.
    """
    _check_names(features)
    joined = spine.append_column("__prediction_at", prediction_times(spine, features.prediction_time))
    for view in features.views:
        joined = join_as_of(joined, at="__prediction_at", rows=_rows_of(view, sources), view=view)
    known_at, truth = _labels(spine, label, label_rows)
    columns: dict[str, Any] = {
        "event_id": column(spine, "event_id", of="the spine"),
        "event_at": _times(spine, "event_at", of="the spine"),
        "prediction_at": joined.column("__prediction_at"),
        "known_at": known_at,
        **{name: column(joined, name, of="the spine") for name in features.feature_names},
        "label": truth,
    }
    return pa.table(columns)


def examples_schema(
    *, spine: pa.Schema, sources: Mapping[str, pa.Schema], features: FeaturesSpec, label: LabelSpec
) -> pa.Schema:
    """Return the schema of the examples that rows of these schemas give; `sources` includes the label's."""
    empty = {name: schema.empty_table() for name, schema in sources.items()}
    return build_examples(
        spine=spine.empty_table(), sources=empty, features=features, label=label, label_rows=empty[label.source]
    ).schema


def source_columns(features: FeaturesSpec, source: str, schema: pa.Schema) -> list[str]:
    """Return the columns of a source that the views read, in the schema's order; only these need to be loaded."""
    names = {"event_id", "event_at", "known_at"}
    for view in (v for v in features.views if v.source == source):
        names.update(view.entity, view.columns)
        names.update(e.column for a in view.aggregate.values() if (e := a.mean or a.sum))
    return [name for name in schema.names if name in names]


def label_columns(label: LabelSpec) -> list[str]:
    """Return the columns of the label's source that a label is made of."""
    return list(dict.fromkeys(("event_id", "event_at", "known_at", label.from_.column)))


def prediction_times(spine: pa.Table, moment: Moment) -> pa.Array[Any]:
    """Return when each spine row is predicted: timestamp in UTC microseconds, null where its column is.

    Raises
    ------
    ConfigError
        When the spine lacks the column, or it is not a timestamp.
    """
    times, known = microseconds(spine, moment.column, of="the spine")
    return pa.array(times + moment.offset // timedelta(microseconds=1), mask=~known).cast(TIMESTAMP)


def _rows_of(view: FeatureView, sources: Mapping[str, pa.Table]) -> pa.Table:
    if view.source not in sources:
        raise ConfigError(
            f"view `{view.name}` reads source `{view.source}`, and there are {', '.join(sources) or 'none'}: declare "
            "it under `sources`",
            key=view.source,
        )
    return sources[view.source]


def _check_names(features: FeaturesSpec) -> None:
    names = features.feature_names
    for name in names:
        if name in _OWN:
            raise ConfigError(
                f"feature {name!r} has the name of a column that every example has ({', '.join(_OWN)}): rename it in "
                "the source's contract",
                key=name,
            )
        if names.count(name) > 1:
            raise ConfigError(f"{names.count(name)} features are named {name!r}: rename all but one", key=name)


def _labels(spine: pa.Table, label: LabelSpec, rows: pa.Table) -> tuple[pa.Array[Any], pa.Array[Any]]:
    """Return when each spine row's label was known, and the label; both null where there is none."""
    of = f"source `{label.source}`"
    ours = pa.table(
        {
            "row": pa.array(np.arange(spine.num_rows)),
            "event_id": column(spine, "event_id", of="the spine"),
            "at": _times(spine, "event_at", of="the spine"),
        }
    )
    theirs = pa.table(
        {
            "event_id": column(rows, "event_id", of=of),
            "label_at": _times(rows, "event_at", of=of),
            "known_at": _times(rows, "known_at", of=of),
            "value": evaluate(rows, label.from_, of=of),
        }
    ).drop_null()
    pairs = ours.join(theirs, "event_id", join_type="inner", use_threads=False)
    apart = pc.abs(pc.subtract(pairs["label_at"], pairs["at"]).cast(pa.int64()))
    pairs = pairs.filter(pc.less_equal(apart, pa.scalar(label.matures_within // timedelta(microseconds=1))))
    pairs = pairs.sort_by([("row", "ascending"), ("known_at", "ascending"), ("value", "ascending")])
    chosen = np.full(spine.num_rows, -1, np.int64)
    # Of repeated rows the last assignment stays, which is the last known.
    chosen[column(pairs, "row", of=of).to_numpy()] = np.arange(pairs.num_rows)
    indices: Any = pa.array(chosen, mask=chosen < 0)
    return column(pairs, "known_at", of=of).take(indices), column(pairs, "value", of=of).take(indices)


def _times(table: pa.Table, name: str, *, of: str) -> pa.Array[Any]:
    return column(table, name, of=of).cast(TIMESTAMP, safe=False)
