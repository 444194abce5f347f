"""Windows of predictions for the monitor's tests."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from raypipe.drift.decide import Live
from raypipe.profile import SCORE, Profile

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def table(shift=0.0, score_shift=0.0, rows=3000, seed=0):
    random = np.random.default_rng(seed)
    x = random.normal(shift, size=rows)
    scores = 1 / (1 + np.exp(-random.normal(score_shift, size=rows)))
    return pa.table({"x": x, SCORE: scores})


REFERENCE = Profile.of(table(seed=9))


def live(quality=1.0, labels=3000, **how):
    rows = table(**how)
    scores = rows.column(SCORE).to_numpy()[:labels]
    random = np.random.default_rng(2)
    truth = (random.random(len(scores)) < np.clip(quality * (scores - 0.5) + 0.5, 0, 1)).astype(float)
    return Live(NOW - timedelta(days=1), NOW, "1", rows.num_rows, Profile.of(rows), truth, scores)
