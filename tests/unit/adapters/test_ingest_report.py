"""Where reports are, and that one that cannot be made stops nothing."""

from raypipe.adapters.ingest_report import newest_report, report_uri, reports_of, write_report
from raypipe.adapters.lake.store import Store
from raypipe.environment import StoreAddress


def test_a_defect_in_a_report_is_said_and_stops_nothing(tmp_path, capsys):
    store = Store(StoreAddress(lake=str(tmp_path)))
    assert write_report(store, "trips", 3, lambda: {}["missing"]) == ""
    assert "the report of generation 3 could not be written (KeyError" in capsys.readouterr().err
    assert newest_report(store, "trips", 3) == ""


def test_reports_are_found_by_generation(tmp_path):
    store = Store(StoreAddress(lake=str(tmp_path)))
    assert reports_of(store, "trips") == {}
    for number in (2, 10):
        for ending in ("html", "json"):
            store.write(report_uri(store, "trips", number, ending), b"")
    assert reports_of(store, "trips") == {n: report_uri(store, "trips", n) for n in (2, 10)}
    assert newest_report(store, "trips", 10) == report_uri(store, "trips", 10)
