"""The scripts of the demonstration import each other by name, as `python configs/flights/land.py` does."""

import functools
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FLIGHTS = ROOT / "configs" / "flights"
sys.path[:0] = [str(FLIGHTS), str(ROOT)]


@pytest.fixture(scope="session")
def flights_directory():
    return FLIGHTS


@pytest.fixture(scope="session", autouse=True)
def _read_the_data_once():
    import nyc

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nyc, "flights", functools.cache(nyc.flights))
        patch.setattr(nyc, "weather", functools.cache(nyc.weather))
        yield


@pytest.fixture(scope="session")
def year():
    import nyc

    return nyc.frames(nyc.FIRST, nyc.LAST)
