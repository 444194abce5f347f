"""The features of configs/flights/pipeline.yaml once more, in plain pandas: a reference to be wrong against.

Deliberately shares no code with raypipe's joins: sorted arrays and prefix sums per group. Knows the flights only.
"""

from __future__ import annotations

import io

import numpy as np
import pandas as pd

from configs.flights import nyc

REQUEST = ["carrier", "origin", "dest", "distance"]
WEATHER = ["temp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"]
VIEWS = [
    *(f"weather__{c}" for c in WEATHER),
    *("origin__delay_2h", "origin__delay_24h", "origin__departures_2h"),
    *("carrier__late_rate_7d", "dest__delay_6h", "dest__delay_24h"),
]
KEY = ["carrier", "flight", "origin", "scheduled_departure_at"]


def reference_examples() -> pd.DataFrame:
    """Return one row for each of the 336,776 flights, in order of `KEY`; times are UTC without a zone.

    Columns: `KEY`, `month` (1..12, New York), `hour`, `weekday` (New York), `REQUEST`, `VIEWS` as known two hours
    before the scheduled departure, `dep_delay` (minutes, the leak), `late` (arrived more than 15 minutes late; NaN
    where the flight never arrived).
    """
    flights = _flights()
    at = flights["scheduled_departure_at"] - pd.Timedelta("2h")
    local = flights["scheduled_departure_at"].dt.tz_localize("UTC").dt.tz_convert("America/New_York")
    flights = flights.assign(prediction_at=at, hour=local.dt.hour, weekday=local.dt.day_of_week, month=local.dt.month)
    flights = _with_weather(flights)

    left = flights[flights["dep_delay"].notna()]
    delay, known = left["dep_delay"], left["departed_at"]
    for name, hours in (("delay_2h", 2), ("delay_24h", 24)):
        total, count = _window(flights, ["origin"], left, known, known, delay, pd.Timedelta(hours=hours))
        flights[f"origin__{name}"] = _mean(total, count)
        if hours == 2:
            flights["origin__departures_2h"] = count

    landed = flights[flights["late"].notna()]
    known = landed["departed_at"] + pd.to_timedelta(landed["air_time"] + 25, unit="min")
    happened = landed["scheduled_departure_at"]
    for name, by, value, hours in (
        ("carrier__late_rate_7d", ["carrier", "origin"], landed["late"], 7 * 24),
        ("dest__delay_6h", ["dest"], landed["arr_delay"], 6),
        ("dest__delay_24h", ["dest"], landed["arr_delay"], 24),
    ):
        total, count = _window(flights, by, landed, happened, known, value, pd.Timedelta(hours=hours))
        flights[name] = _mean(total, count)
    return flights.sort_values(KEY, ignore_index=True)


def _flights() -> pd.DataFrame:
    data = nyc.read_pinned(nyc.data_directory(), "flights.csv.zip")
    raw = pd.read_csv(io.BytesIO(data), compression="zip")
    scheduled = _instants(raw["time_hour"])
    scheduled += pd.to_timedelta(raw["minute"], unit="min")
    late = (raw["arr_delay"] > 15).astype(float).where(raw["arr_delay"].notna())
    departed = scheduled + pd.to_timedelta(raw["dep_delay"], unit="min")
    kept = raw[["carrier", "flight", "origin", "dest", "distance", "dep_delay", "air_time", "arr_delay"]]
    return kept.assign(scheduled_departure_at=scheduled, departed_at=departed, late=late)


def _instants(text: pd.Series) -> pd.Series:
    # All times here are UTC without saying so: pandas turns aware times into objects in numpy.
    return pd.to_datetime(text, utc=True).dt.tz_localize(None).astype("datetime64[us]")


def _with_weather(flights: pd.DataFrame) -> pd.DataFrame:
    weather = pd.read_csv(io.BytesIO(nyc.read_pinned(nyc.data_directory(), "weather.csv")))
    weather["observed_at"] = _instants(weather["time_hour"])
    sound = weather[~(weather["wind_speed"] > 253)]  # the row that the contract refuses
    named = sound[["origin", "observed_at", *WEATHER]].rename(columns={c: f"weather__{c}" for c in WEATHER})
    return pd.merge_asof(
        flights.sort_values("prediction_at"),
        named.sort_values("observed_at"),
        left_on="prediction_at",
        right_on="observed_at",
        by="origin",
        tolerance=pd.Timedelta("6h"),
    )


def _window(
    spine: pd.DataFrame,
    by: list[str],
    rows: pd.DataFrame,
    happened: pd.Series,
    known: pd.Series,
    value: pd.Series,
    over: pd.Timedelta,
) -> tuple[np.ndarray, np.ndarray]:
    """Return sum and count, for each spine row, of the rows known by then that happened within `over` before it."""
    total, count = np.zeros(len(spine)), np.zeros(len(spine))
    begins = np.maximum(known.to_numpy(), happened.to_numpy())
    ends = (happened + over).to_numpy()
    ever = begins < ends
    groups = rows.groupby(by).indices
    for key, at in spine.groupby(by).indices.items():
        t = spine["prediction_at"].to_numpy()[at]
        own = groups.get(key, np.array([], dtype=int))
        own = own[ever[own]]
        for moment, sign in ((begins[own], 1), (ends[own], -1)):
            order = np.argsort(moment, kind="stable")
            sums = np.concatenate([[0.0], np.cumsum(value.to_numpy()[own][order])])
            passed = np.searchsorted(moment[order], t, side="right")
            total[at] += sign * sums[passed]
            count[at] += sign * passed
    return total, count


def _mean(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    mean: np.ndarray = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
    return mean
