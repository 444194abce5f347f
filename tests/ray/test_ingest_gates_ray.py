"""What does not enter, and who decides: refused rows, halts, rules on the table, generations unlike those before."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from raypipe.adapters.ingest_history import History
from raypipe.adapters.ingest_manifest import OpenManifests
from raypipe.adapters.ingest_ray import RayIngestor
from raypipe.adapters.lake.catalog import dead_letters_table
from raypipe.adapters.lake.decisions import Decisions
from raypipe.contracts.backfill import Backfill, Days
from raypipe.errors import ConfigError
from raypipe.reports.ingest import IngestReport
from raypipe.verdict import Status

pytestmark = [
    pytest.mark.usefixtures("ray_cluster"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def test_refused_and_broken_rows_become_dead_letters_with_text_reason_and_place(world):
    world.land("a", ("t1", 1, 10), ("t2", 1, -1), '{"trip": ', ("t3", 1, 30))
    assert world.counts() == (4, 2, 2, 0)
    letters = dead_letters_table(world.store).read().sort_by("source_position").to_pylist()
    assert [(x["reasons"], x["source_position"].rsplit("#", 1)[1]) for x in letters] == [
        (["range(minutes)"], "1"),
        (["malformed(json)"], "2"),
    ]
    assert json.loads(letters[0]["raw"])["trip"] == "t2"


def test_a_halt_commits_no_row_and_is_tried_again_when_the_limit_allows_it(world):
    world.land("a", ("t1", 1, 10), ("t2", 1, -1), ("t3", 1, -1))
    assert world.ingest().verdict.status is Status.HALTED
    assert world.ingest().verdict.status is Status.HALTED
    assert (world.trips(), world.decisions()) == ([], ["halt"])
    file = world.root / "pipeline.yaml"
    file.write_text(file.read_text().replace("0.5", "0.9"))
    world.land("b", ("t4", 1, 40))
    assert world.counts() == (3, 1, 2, 0)
    assert world.counts() == (1, 1, 0, 0)
    assert world.decisions() == ["halt", "accept", "accept"]


def test_a_halted_manifest_waits_unread_and_blocks_until_its_good_rows_are_let_in(world):
    world.land("a", ("t1", 1, 10), ("t2", 1, -1), ("t3", 1, -1))
    assert world.ingest().verdict.status is Status.HALTED
    (world.landing / "a").rename(world.root / "a")
    (world.landing / "b").touch()
    waiting = world.ingest()
    assert world.counts(waiting) == (3, 1, 2, 0), "the halt's own counts"
    assert "still halted at generation 1" in waiting.verdict.sentence()
    assert "--accept 1 --reason TEXT" in waiting.verdict.sentence()

    (world.root / "a").rename(world.landing / "a")
    world.land("b", ("t4", 1, 40))
    accepted = world.resolve(1, accept=True)
    assert accepted.verdict.status is Status.QUARANTINED
    assert "let in by ann: looked at it" in accepted.verdict.sentence()
    assert world.counts(accepted) == (3, 1, 2, 0)
    assert world.trips() == [("t1", 10)]
    assert world.counts() == (1, 1, 0, 0)
    assert world.decisions() == ["halt", "accept_halted", "accept", "accept"]


def test_a_rejected_manifest_is_skipped_for_good_and_corrected_objects_are_new(world):
    world.land("a", ("t1", 1, 10), ("t2", 1, -1), ("t3", 1, -1))
    world.ingest()
    world.land("a", ("t1", 1, 10), ("t2", 1, 20), ("t3", 1, 30))
    assert world.counts(world.resolve(1, accept=False)) == (3, 3, 0, 0)
    assert world.trips() == [("t1", 10), ("t2", 20), ("t3", 30)]
    assert dead_letters_table(world.store).read().num_rows == 0
    assert world.decisions() == ["halt", "reject_halted", "accept"]
    assert world.ingest().verdict.status is Status.NOT_APPLICABLE


@pytest.mark.parametrize("accept", [True, False])
def test_a_resolution_whose_run_was_killed_is_carried_out_by_the_next(world, monkeypatch, accept):
    world.land("a", ("t1", 1, 10), ("t2", 1, -1), ("t3", 1, -1))
    world.ingest()
    with monkeypatch.context() as patch:
        patch.setattr(OpenManifests, "opened", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            world.resolve(1, accept=accept)
    world.ingest()
    assert world.trips() == ([("t1", 10)] if accept else [])
    words = ["halt", "accept_halted", "accept"] if accept else ["halt", "reject_halted"]
    assert world.decisions() == words
    world.resolve(1, accept=accept)
    assert world.decisions() == words, "the same resolution again decides nothing"


def test_a_generation_that_is_not_halted_cannot_be_let_in(world):
    world.land("a", ("t1", 1, 10))
    world.ingest()
    with pytest.raises(ConfigError, match="source `trips` is not halted"):
        world.resolve(1, accept=True)


def test_a_broken_table_rule_halts_a_generation_of_good_rows_until_it_is_let_in(world):
    world.rule('{type: sql, name: mean, query: "SELECT avg(minutes) FROM {object}", mustBeLessThan: 20}')
    world.land("a", ("t1", 1, 10), ("t2", 1, 90))
    world.land("b", ("t1", 1, 99))
    halted = world.ingest()
    assert halted.verdict.status is Status.HALTED
    assert (
        "sql(mean) of `trips` is 50, its contract says mustBeLessThan 20: fix the source" in halted.verdict.sentence()
    )
    assert "--accept 1 --reason TEXT" in halted.verdict.sentence()
    assert halted.evidence.measured == (("sql(mean)", 50.0),), "t1 counts once: duplicates are gone"
    assert world.ingest().verdict.status is Status.HALTED
    assert (world.trips(), world.decisions()) == ([], ["halt"])
    accepted = world.resolve(1, accept=True)
    assert accepted.verdict.status is Status.QUARANTINED
    assert "let in by ann: looked at it" in accepted.verdict.sentence()
    assert world.trips() == [("t1", 10), ("t2", 90)]
    assert world.decisions() == ["halt", "accept_halted", "accept"]
    recorded = Decisions(world.store).stream("ingest/trips")[-1]
    assert json.loads(recorded.evidence)["measured"] == [["sql(mean)", 50.0]]


def test_who_let_bad_rows_in_decides_again_when_a_table_rule_halts_the_good_ones(world):
    world.rule("{metric: rowCount, mustBeGreaterThan: 2}")
    world.land("a", ("t1", 1, 10), ("t2", 1, -1), ("t3", 1, -1))
    assert "66.7 % of the rows" in world.ingest().verdict.sentence()
    again = world.resolve(1, accept=True)
    assert "HALTED: rowCount of `trips` is 1 rows" in again.verdict.sentence()
    assert world.trips() == []
    assert world.resolve(1, accept=True).verdict.status is Status.QUARANTINED
    assert world.trips() == [("t1", 10)]
    assert world.decisions() == ["halt", "accept_halted", "halt", "accept_halted", "accept"]


def test_a_kept_table_rule_and_a_warning_let_the_generation_in(world):
    world.rule("{metric: rowCount, mustBe: 2}, {metric: rowCount, mustBeGreaterThan: 2, severity: warning}")
    world.land("a", ("t1", 1, 10), ("t1", 1, 11), ("t2", 1, 20))
    found = world.ingest()
    assert found.verdict.status is Status.WARNED
    assert world.trips() == [("t1", 10), ("t2", 20)]


def test_a_changed_table_rule_judges_a_halted_generation_anew(world):
    world.rule("{metric: rowCount, mustBeGreaterThan: 2}")
    world.land("a", ("t1", 1, 10))
    assert world.ingest().verdict.status is Status.HALTED
    world.rule("{metric: rowCount, mustBeGreaterThan: 0}")
    assert world.ingest().verdict.status is Status.PASSED
    assert world.trips() == [("t1", 10)]


def test_a_row_that_breaks_an_expression_is_a_dead_letter(world):
    world.rule("{type: sql, name: short, query: minutes < 50, mustBe: true}")
    world.land("a", ("t1", 1, 10), ("t2", 1, 90))
    assert world.counts() == (2, 1, 1, 0)
    assert [r["reasons"] for r in dead_letters_table(world.store).read().to_pylist()] == [["sql(short)"]]


def test_an_object_without_a_row_is_insufficient_once_and_blocks_nothing_later(world):
    world.land("a")
    assert world.ingest().verdict.status is Status.INSUFFICIENT
    world.land("b", ("t1", 1, 10))
    assert world.counts() == (1, 1, 0, 0)


HISTORY = """history: {
    row_count: {weeks: 4, min_days: 2, severity: halt},
    null_rate: {columns: [minutes], max_difference: 0.2, min_generations: 2, severity: halt}}}"""


def with_history(world):
    file = world.root / "pipeline.yaml"
    file.write_text(file.read_text().replace("{dead_letter_rate: 0.5}}", "{dead_letter_rate: 0.5}, " + HISTORY))


def land_day(world, day, rows, *, minutes=10):
    lines = [json.dumps({"trip": f"{day} {n}", "at": f"{day}T00:00:00Z", "minutes": minutes}) for n in range(rows)]
    (world.landing / day).write_text("\n".join(lines))


def test_a_generation_unlike_those_before_it_halts_and_waits_until_it_is_let_in(world):
    with_history(world)
    for day in ("2020-01-06", "2020-01-13", "2020-01-20"):
        land_day(world, day, 60)
        assert world.ingest().verdict.status is Status.PASSED
    land_day(world, "2020-01-27", 10, minutes=None)
    halted = world.ingest()
    assert halted.verdict.status is Status.HALTED
    by_rule = {f.rule: (f.status, f.observed, f.limit) for f in halted.verdict.findings}
    assert by_rule["row_count"] == (Status.HALTED, 10 / 60, 0.5)
    assert by_rule["null_rate(minutes)"] == (Status.HALTED, 1.0, 0.2)
    why = Decisions(world.store).stream("ingest/trips")[-1].why
    assert "2020-01-27 (Monday) has 10 rows, the same weekdays before have 60: 16.7 %, at least 50 % is allowed" in why
    assert world.counts() == (10, 10, 0, 0)
    assert len(world.trips()) == 180

    accepted = world.resolve(4, accept=True)
    assert accepted.verdict.status is Status.QUARANTINED
    assert len(world.trips()) == 190
    assert [g.number for g in History(world.store).before("trips", 9)] == [1, 2, 3, 4]


def test_who_let_the_good_rows_in_is_asked_again_when_they_are_unlike_those_before(world):
    with_history(world)
    for day in ("2020-01-06", "2020-01-13", "2020-01-20"):
        land_day(world, day, 60)
        world.ingest()
    land_day(world, "2020-01-27", 10)
    world.land("bad", *(("t", 1, -1) for _ in range(30)))
    assert "row_count" not in {f.rule for f in world.ingest().verdict.findings}, "most rows are refused"
    asked = world.resolve(4, accept=True)
    assert {f.rule for f in asked.verdict.findings if f.status is Status.HALTED} == {"row_count", "halted"}
    assert len(world.trips()) == 180
    assert world.resolve(4, accept=True).verdict.status is Status.QUARANTINED
    assert len(world.trips()) == 190


def test_a_day_that_is_replaced_is_compared_anew_and_without_its_old_rows(world):
    with_history(world)
    for day in ("2020-01-06", "2020-01-13", "2020-01-20"):
        land_day(world, day, 60)
        world.ingest()
    corrected = world.root / "corrected"
    corrected.mkdir()
    landing, world.landing = world.landing, corrected
    land_day(world, "2020-01-20", 10)
    world.landing = landing
    asked = Backfill("trips", Days.parse("2020-01-20..2020-01-21"), str(corrected), "ann", "wrong")
    halted = RayIngestor(world.store, lambda: datetime.now(UTC)).backfill(world.pipeline, asked)["trips"]
    assert [(f.observed, f.rows) for f in halted.verdict.findings if f.rule == "row_count"] == [(10 / 60, 10)]
    assert halted.verdict.status is Status.HALTED


def test_a_halt_by_history_is_judged_anew_when_its_limits_change(world):
    with_history(world)
    for day in ("2020-01-06", "2020-01-13"):
        land_day(world, day, 60)
        world.ingest()
    land_day(world, "2020-01-20", 10)
    assert world.ingest().verdict.status is Status.HALTED
    file = world.root / "pipeline.yaml"
    file.write_text(file.read_text().replace("weeks: 4, min_days: 2", "weeks: 4, min_days: 2, min_ratio: 0.1"))
    assert world.ingest().verdict.status is Status.PASSED
    assert world.decisions() == ["accept", "accept", "halt", "accept"]


def test_each_generation_leaves_a_profile_and_a_report_that_says_where_it_is(world):
    world.land("a", ("t1", 1, 10), ("t2", 1, -1), '{"trip": ', ("t1", 1, 10))
    found = world.ingest()
    page = Path(found.report).read_text()
    report = IngestReport.model_validate_json(Path(found.report).with_suffix(".json").read_text())
    assert (report.generation, report.verdict, report.committed) == (1, Status.QUARANTINED, True)
    assert report.counts == found.evidence
    assert {r.reason: len(r.letters) for r in report.reasons} == {"range(minutes)": 1, "malformed(json)": 1}
    assert report.columns[2].summary.counts.rows == 2, "the rows that keep the contract, with the duplicate"
    assert "Bad rows were set aside" in page
    (kept,) = History(world.store).before("trips", 2)
    assert (kept.counts, kept.days) == (found.evidence, {date(2020, 1, 1): 1})
    assert world.ingest().report == found.report, "nothing new: the report of what is there"


def test_a_halted_generation_has_a_report_and_no_profile(world):
    world.land("a", ("t1", 1, 10), ("t2", 1, -1), ("t3", 1, -1))
    report = IngestReport.model_validate_json(Path(world.ingest().report).with_suffix(".json").read_text())
    assert (report.verdict, report.committed) == (Status.HALTED, False)
    assert History(world.store).before("trips", 9) == ()


def test_a_report_that_cannot_be_written_is_said_and_stops_nothing(world, capsys):
    world.land("a", ("t1", 1, 10))
    (world.root / "lake").mkdir()
    (world.root / "lake" / "reports").write_text("a file where a directory should be")
    found = world.ingest()
    assert (found.verdict.status, found.report) == (Status.PASSED, "")
    assert world.trips() == [("t1", 10)]
    assert "the report of generation 1 could not be written" in capsys.readouterr().err


def test_a_run_killed_after_its_profile_keeps_it_once(world, monkeypatch):
    world.land("a", ("t1", 1, 10))
    with monkeypatch.context() as patch:
        keep = History.keep
        patch.setattr(History, "keep", lambda *given: (keep(*given), 1 / 0))
        with pytest.raises(ZeroDivisionError):
            world.ingest()
    assert (world.trips(), len(History(world.store).before("trips", 2))) == ([], 1)
    assert world.ingest().verdict.status is Status.PASSED
    assert (world.trips(), len(History(world.store).before("trips", 2))) == ([("t1", 10)], 1)
