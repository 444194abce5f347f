"""Which examples train and which validate: the past trains, the future validates.

Knows the clocks of an example: when it is predicted and when its label was known. Rows drawn at random would let the
future teach the past (measured on the flights of 2013: AUC .786 at random, .772 by time).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_TIMESTAMP = pa.timestamp("us", "UTC")


def cut_at(prediction_times: pa.ChunkedArray[Any] | pa.Array[Any], validation_rate: float) -> datetime:
    """Return the time from which on about `validation_rate` of the predictions are made.

    Parameters
    ----------
    prediction_times
        timestamp("us", "UTC") of the labelled examples, in any order, without nulls.
    validation_rate
        Share of examples that validate, between 0 and 1. Examples of one instant stay together, so the
        share is met from above.

    Raises
    ------
    ValueError
        When there are no examples, or all are of one instant: there is no past to learn from.
    """
    times = pa.chunked_array([prediction_times]) if isinstance(prediction_times, pa.Array) else prediction_times
    micros = np.sort(times.cast(_TIMESTAMP).cast(pa.int64()).to_numpy())
    if not len(micros) or micros[0] == micros[-1]:
        raise ValueError(
            f"{len(micros)} labelled examples of one instant cannot be split by time: ingest a longer period"
        )
    cut = micros[min(int(len(micros) * (1 - validation_rate)), len(micros) - 1)]
    if cut == micros[0]:
        cut = micros[np.searchsorted(micros, cut, side="right")]
    return datetime.fromtimestamp(int(cut) // 1_000_000, UTC).replace(microsecond=int(cut) % 1_000_000)


def training_rows(examples: pa.Table, cut: datetime) -> pa.Table:
    """Return the examples predicted before `cut` whose label was known by then."""
    at = pa.scalar(cut, _TIMESTAMP)
    matured = pc.and_kleene(
        pc.less(examples.column("prediction_at"), at), pc.less_equal(examples.column("known_at"), at)
    )
    return examples.filter(pc.and_kleene(matured, examples.column("label").is_valid()))


def validation_rows(examples: pa.Table, cut: datetime) -> pa.Table:
    """Return the examples predicted at `cut` or later whose label is known by now."""
    at = pa.scalar(cut, _TIMESTAMP)
    later = pc.greater_equal(examples.column("prediction_at"), at)
    return examples.filter(pc.and_kleene(later, examples.column("label").is_valid()))
