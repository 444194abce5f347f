"""The four contracts are valid under the standard, and the year keeps them but for one observation."""

import json
from importlib.resources import files

import jsonschema
import nyc
import polars as pl
import pytest
import yaml

from raypipe.contracts.checks import check
from raypipe.contracts.odcs import load_contract

SOURCES = ("schedules", "departures", "arrivals", "weather")


def contract_of(source, directory):
    file = directory / f"{source}.odcs.yaml"
    return load_contract(file.read_text(), str(file))


@pytest.mark.parametrize("source", SOURCES)
def test_a_contract_is_valid_under_the_published_json_schema(source, flights_directory):
    schema = json.loads((files("open_data_contract_standard") / "schema.json").read_text())
    contract = yaml.safe_load((flights_directory / f"{source}.odcs.yaml").read_text())
    jsonschema.Draft201909Validator(schema).validate(contract)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft201909Validator(schema).validate(contract | {"apiVersion": "v9"})


@pytest.mark.parametrize("source", SOURCES)
def test_a_contract_has_exactly_the_columns_that_land(source, flights_directory):
    contract = contract_of(source, flights_directory)
    assert {f.name for f in contract.fields} == set(nyc.COLUMNS[source])


@pytest.mark.parametrize(
    ("source", "event_at", "known_at"),
    [
        ("schedules", "scheduled_departure_at", "published_at"),
        ("departures", "departed_at", "departed_at"),
        ("arrivals", "scheduled_departure_at", "arrival_known_at"),
        ("weather", "observed_at", "observed_at"),
    ],
)
def test_a_contract_names_the_two_clocks(source, event_at, known_at, flights_directory):
    contract = contract_of(source, flights_directory)
    assert (contract.event_at, contract.known_at) == (event_at, known_at)


@pytest.mark.parametrize("source", SOURCES)
def test_the_whole_year_keeps_its_contract_but_for_a_wind_of_1048_mph(source, year, flights_directory):
    rows = year[source].drop("landed_on").to_arrow()
    checked = check(rows, contract_of(source, flights_directory))
    reasons = [r for row in checked.refused["reasons"].to_pylist() for r in row]
    assert reasons == (["range(wind_speed)"] if source == "weather" else [])
    assert checked.accepted.num_rows == rows.num_rows - len(reasons)


@pytest.mark.parametrize(
    ("source", "column", "value", "reason"),
    [
        ("schedules", "carrier", "ua", "pattern(carrier)"),
        ("schedules", "origin", "PHL", "valid_values(origin)"),
        ("schedules", "distance", 0, "range(distance)"),
        ("departures", "dep_delay", None, "required(dep_delay)"),
        ("arrivals", "dest", "Los Angeles", "pattern(dest)"),
        ("arrivals", "arr_delay", 2881.0, "range(arr_delay)"),
        ("weather", "humid", 101.0, "range(humid)"),
    ],
)
def test_a_contract_refuses(source, column, value, reason, year, flights_directory):
    sound = year[source].drop("landed_on").head(1)
    bad = sound.with_columns(pl.lit(value, dtype=sound.schema[column]).alias(column))
    checked = check(pl.concat([sound, bad]).to_arrow(), contract_of(source, flights_directory))
    assert checked.accepted.num_rows == 1
    assert checked.refused["reasons"].to_pylist() == [[reason]]
