"""Landing puts every drop once, leaves equal objects alone and writes the ledger beside them."""

import json
from datetime import date

import land as script
import pytest
from land import land

from raypipe.adapters.lake.store import Store
from raypipe.environment import StoreAddress

START, END = date(2013, 2, 11), date(2013, 2, 13)


@pytest.fixture
def landing(tmp_path):
    return Store(StoreAddress(lake=str(tmp_path))), str(tmp_path / "landing")


def etags(store, uri):
    return {o.uri.removeprefix(uri): o.etag for o in store.listing(uri)}


def test_every_source_has_one_drop_a_day_and_a_ledger_beside_them(landing):
    store, uri = landing
    book = land(store, uri, START, END)
    assert sorted(etags(store, uri)) == sorted(
        [f"/{source}/2013-02-{day}.{suffix}" for source, suffix in script.SUFFIXES.items() for day in (11, 12, 13)]
        + ["/_ledger/2013-02-11_2013-02-13.json"]
    )
    written = json.loads(store.read(f"{uri}/_ledger/2013-02-11_2013-02-13.json"))
    assert written["sources"]["weather"]["dead_letters"] == {"range(wind_speed)": 1}
    assert {n: s["accepted"] for n, s in written["sources"].items()} == {n: s.accepted for n, s in book.sources.items()}


def test_landing_again_touches_no_drop(landing):
    store, uri = landing
    land(store, uri, START, END, faults=7)
    before = {name: etag for name, etag in etags(store, uri).items() if "_ledger" not in name}
    counts = []
    land(store, uri, START, END, faults=7, progress=lambda *c: counts.append(c))
    after = {name: etag for name, etag in etags(store, uri).items() if "_ledger" not in name}
    assert after == before
    assert counts[-1] == (len(before), len(before), 0)


def test_a_damaged_object_is_put_right(landing):
    store, uri = landing
    land(store, uri, START, END)
    name = f"{uri}/weather/2013-02-11.csv"
    sound = store.read(name)
    store.write(name, sound.replace(b"EWR", b"EWX"))
    counts = []
    land(store, uri, START, END, progress=lambda *c: counts.append(c))
    assert store.read(name) == sound
    assert counts[-1][2] == 1


def test_the_command_prints_the_ledger_and_names_a_wrong_range(tmp_path, capsys):
    days = ["--from", "2013-02-11", "--to"]
    assert script.main([*days, "2013-02-11", "--to-uri", str(tmp_path / "l"), "--faults"]) == 0
    assert "injected faults of seed 7" in capsys.readouterr().out
    assert script.main([*days, "2013-02-10", "--to-uri", str(tmp_path / "l")]) == 2
    assert "asked for 2013-02-11 to 2013-02-10: choose a range inside" in capsys.readouterr().err
