"""Requests as they would have been sent: the flights of some days with everything that was known two hours before.

Computed by the same join as training, in one process: the rows of the four sources are checked by their contracts and
joined as of the prediction. Knows the demonstration's data; does not know where requests go.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
from nyc import FIRST, frames

from raypipe.columns import Column, column_type
from raypipe.config import Pipeline
from raypipe.contracts.checks import check
from raypipe.contracts.events import event_columns
from raypipe.features.examples import build_examples

# The longest window of a view is 7 days; delays of the day before a prediction belong to flights of two days before.
_HISTORY = timedelta(days=10)


def recorded(pipeline: Pipeline, start: date, end: date) -> pa.Table:
    """Return one row for each flight scheduled on these UTC days, in order of prediction, with its label.

    Columns: `event_id`, `prediction_at`, the features, `label` (null where the flight never landed).
    """
    rows = {}
    for source, frame in frames(max(FIRST, start - _HISTORY), min(end + timedelta(days=3), date(2014, 1, 2))).items():
        contract = pipeline.contracts[source]
        kept = check(frame.drop("landed_on").to_arrow(), contract).accepted
        rows[source] = event_columns(kept, contract, datetime.now(UTC))
    features = pipeline.spec.features
    spine = rows[features.spine]
    at = spine.column("event_at")
    first = pa.scalar(datetime(start.year, start.month, start.day, tzinfo=UTC), at.type)
    last = pa.scalar(datetime(end.year, end.month, end.day, tzinfo=UTC) + timedelta(days=1), at.type)
    wanted = pc.and_(pc.greater_equal(at, first), pc.less(at, last))
    examples = build_examples(
        spine=spine.filter(wanted),
        sources=rows,
        features=features,
        label=pipeline.spec.label,
        label_rows=rows[pipeline.spec.label.source],
    )
    names = ["event_id", "prediction_at", *features.feature_names, "label"]
    return examples.select(names).sort_by([("prediction_at", "ascending"), ("event_id", "ascending")])


def columns_of(requests: pa.Table, pipeline: Pipeline) -> tuple[Column, ...]:
    """Return the model's inputs among the columns of recorded requests."""
    names = pipeline.spec.features.feature_names
    return tuple(Column(n, column_type(requests.schema.field(n).type)) for n in names)
