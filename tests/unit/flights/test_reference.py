"""Two implementations that share no code give the same features, on two clocks, for every flight."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from benchmarks.flights_features import KEY, VIEWS, reference_examples
from benchmarks.flights_ours import our_examples
from raypipe.config import load

LAST = date(2013, 2, 14)


@pytest.fixture(scope="module")
def reference():
    rows = reference_examples()
    return rows[rows["scheduled_departure_at"] < pd.Timestamp(LAST) + pd.Timedelta("1D")].reset_index(drop=True)


@pytest.fixture(scope="module")
def examples(flights_directory):
    return our_examples(load(flights_directory / "pipeline.yaml"), LAST)


def test_both_have_the_same_flights_in_the_same_order(reference, examples):
    ids = reference[KEY].astype({"scheduled_departure_at": "datetime64[s]"})
    joined = ids["carrier"] + "|" + ids["flight"].astype(str) + "|" + ids["origin"] + "|"
    joined += ids["scheduled_departure_at"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert joined.tolist() == examples["event_id"].to_pylist()


@pytest.mark.parametrize("feature", VIEWS)
def test_a_feature_is_the_same_in_pandas_and_in_raypipe(feature, reference, examples):
    ours = examples.column(feature).to_pandas().to_numpy(dtype=float)
    np.testing.assert_allclose(ours, reference[feature].to_numpy(dtype=float), rtol=1e-9, atol=1e-9)
    assert len(np.unique(ours[~np.isnan(ours)])) > 10


def test_the_label_is_the_same_where_it_was_known_by_then(reference, examples):
    ours = examples.column("label").to_pandas().to_numpy(dtype=float)
    known = ~np.isnan(ours)
    assert known.mean() > 0.9
    np.testing.assert_array_equal(ours[known], reference["late"].to_numpy()[known])
