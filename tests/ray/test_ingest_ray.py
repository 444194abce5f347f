"""Objects become rows exactly once: what is new, what is double, what is broken, and what an earlier run left open."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from raypipe.adapters.ingest_history import History
from raypipe.adapters.ingest_manifest import OpenManifests
from raypipe.adapters.ingest_ray import RayIngestor
from raypipe.adapters.ingest_split import Arrival, numbered, split
from raypipe.adapters.lake.catalog import dead_letters_table, events_table
from raypipe.adapters.lake.decisions import Decisions
from raypipe.adapters.lake.manifests import Manifests
from raypipe.adapters.lake.store import Store
from raypipe.adapters.lake.tables import LakeTable
from raypipe.config import load
from raypipe.contracts.backfill import Backfill, Days
from raypipe.contracts.contract import TIMESTAMP
from raypipe.contracts.halt import Resolution
from raypipe.contracts.late import RULE, in_sample
from raypipe.contracts.rows import RawRows
from raypipe.environment import StoreAddress
from raypipe.errors import ConfigError, ContractError, RaypipeError
from raypipe.reports.ingest import IngestReport
from raypipe.verdict import Status

pytestmark = [
    pytest.mark.usefixtures("ray_cluster"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
CONTRACT = """
apiVersion: v3.0.2
kind: DataContract
id: trips
version: 1.0.0
status: active
schema:
  - name: trips
    logicalType: object
    customProperties: [{property: eventAt, value: at}]
    properties:
      - {name: trip, logicalType: string, required: true, primaryKey: true, primaryKeyPosition: 1}
      - {name: at, logicalType: timestamp, required: true}
      - {name: minutes, logicalType: number, logicalTypeOptions: {minimum: 0}}
"""
PIPELINE = """
name: trips
sources:
  trips: {contract: trips.odcs.yaml, feeds: [{kind: objects, uri: LANDING, format: jsonl}], halt_when: {dead_letter_rate: 0.5}}
features: {spine: trips, prediction_time: at, request: [minutes]}
label: {name: long, source: trips, from: minutes > 30, matures_within: 1d}
training: {model: {kind: tabular_mlp}}
validation: {absolute: {auc: ">= 0.6"}}
"""


class World:
    """A directory that is landing zone and lake."""

    def __init__(self, root):
        self.root, self.landing = root, root / "landing"
        self.landing.mkdir()
        (root / "trips.odcs.yaml").write_text(CONTRACT)
        (root / "pipeline.yaml").write_text(PIPELINE.replace("LANDING", str(self.landing)))
        self.store = Store(StoreAddress(lake=str(root / "lake")))

    @property
    def pipeline(self):
        return load(self.root / "pipeline.yaml")

    @property
    def table(self):
        return events_table(self.store, "trips", self.pipeline.contracts["trips"])

    def land(self, name, *rows):
        lines = [
            r if isinstance(r, str) else json.dumps({"trip": r[0], "at": f"2020-01-0{r[1]}T00:00:00Z", "minutes": r[2]})
            for r in rows
        ]
        (self.landing / name).write_text("\n".join(lines))

    def rule(self, *stated):
        (self.root / "trips.odcs.yaml").write_text(
            CONTRACT.replace("    properties:", f"    quality: [{', '.join(stated)}]\n    properties:")
        )

    def ingest(self, resolution=None):
        return RayIngestor(self.store, lambda: datetime.now(UTC)).ingest(self.pipeline, resolution)["trips"]

    def backfill(self, days, *rows, reason="the source corrected them"):
        corrected = self.root / "corrected"
        corrected.mkdir(exist_ok=True)
        landing, self.landing = self.landing, corrected
        self.land("fixed", *rows)
        self.landing = landing
        asked = Backfill("trips", Days.parse(days), str(corrected), "ann", reason)
        return RayIngestor(self.store, lambda: datetime.now(UTC)).backfill(self.pipeline, asked)["trips"]

    def resolve(self, generation, *, accept):
        return self.ingest(Resolution("trips", generation, accept, "ann", "looked at it"))

    def stream(self, *rows, turn=None):
        """Commit rows as a stream would, under its own application id."""
        at = [datetime(2020, 1, day, tzinfo=UTC) for _, day, _ in rows]
        plain = pa.table(
            {"trip": [r[0] for r in rows], "at": pa.array(at, TIMESTAMP), "minutes": [float(r[2]) for r in rows]}
        )
        contract = self.pipeline.contracts["trips"]
        arrival = Arrival("trips", contract, self.table.generation("stream/trips") + 1, datetime.now(UTC))
        ready = split(RawRows.of(plain), arrival, numbered("kafka://trips/0"))
        days = sorted(set(ready.accepted["event_date"].to_pylist()))
        files = [
            self.table.write(
                ready.accepted.filter(pc.equal(ready.accepted["event_date"], d)),
                (("event_date", str(d)),),
                streamed=True,
            )
            for d in days
        ]
        self.table.commit(files, app_id="stream/trips", generation=arrival.generation, turn=self.table.turn())

    def counts(self, found=None):
        e = (found or self.ingest()).evidence
        return e.rows, e.accepted, e.dead_letters, e.duplicates

    def trips(self):
        rows = self.table.read(["trip", "minutes"]).sort_by("trip").to_pylist()
        return [(r["trip"], r["minutes"]) for r in rows]

    def decisions(self):
        return [d.what for d in Decisions(self.store).stream("ingest/trips")]


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_of_equal_events_the_first_of_the_manifest_stays_and_the_tables_own_before_all(world):
    world.land("a", ("t1", 1, 10), ("t2", 1, 20), ("t1", 1, 11))
    world.land("b", ("t2", 2, 21), ("t3", 2, 30))
    assert world.counts() == (5, 3, 0, 2)
    assert world.trips() == [("t1", 10), ("t2", 20), ("t3", 30)]
    world.land("c", ("t3", 3, 99), ("t4", 3, 40))
    assert world.counts() == (2, 1, 0, 1)
    assert world.trips() == [("t1", 10), ("t2", 20), ("t3", 30), ("t4", 40)]
    assert world.decisions() == ["accept", "accept"]


def test_rows_of_objects_replace_streamed_rows_of_the_same_event_and_no_others(world):
    world.land("a", ("t1", 1, 10))
    world.ingest()
    world.stream(("t2", 1, 20), ("t3", 1, 30), ("t4", 2, 40))
    world.land("b", ("t1", 1, 11), ("t3", 1, 31), ("t5", 1, 50))
    version = world.table.snapshot().version
    assert world.counts() == (3, 2, 0, 1)
    assert world.trips() == [("t1", 10), ("t2", 20), ("t3", 31), ("t4", 40), ("t5", 50)]
    assert world.table.snapshot().version == version + 1, "in one step"
    assert world.table.metadata("ingest/trips")["superseded"] == 1


def test_what_is_streamed_while_objects_are_compared_is_compared_too(world, monkeypatch):
    world.stream(("t1", 1, 10), ("t2", 1, 20))
    world.land("a", ("t1", 1, 11), ("t3", 1, 30), ("t4", 1, 40))
    late = iter([[("t3", 1, 31), ("t6", 1, 60)], [("t4", 2, 41)]])
    commit = LakeTable.commit

    def raced(table, files, *, app_id, **options):
        if app_id == "ingest/trips" and table.name == "events/trips" and (rows := next(late, None)):
            with monkeypatch.context() as patch:
                patch.setattr(LakeTable, "commit", commit)
                world.stream(*rows)
        commit(table, files, app_id=app_id, **options)

    monkeypatch.setattr(LakeTable, "commit", raced)
    assert world.counts() == (3, 3, 0, 0)
    assert world.trips() == [("t1", 11), ("t2", 20), ("t3", 30), ("t4", 40), ("t6", 60)]


def test_a_streamed_file_that_was_compacted_meanwhile_gives_way_all_the_same(world, monkeypatch):
    world.stream(("t1", 1, 10), ("t2", 1, 20))
    world.stream(("t3", 1, 30))
    world.land("a", ("t1", 1, 11))
    commit = LakeTable.commit

    def compacted(table, files, *, app_id, **options):
        if app_id == "ingest/trips" and table.name == "events/trips" and table.generation("compact/trips") == 0:
            old = table.files()
            rows = pa.concat_tables(table.store.read_parquet(f.uri) for f in old)
            one = table.write(rows, old[0].partition, streamed=True)
            commit(table, [one], app_id="compact/trips", generation=1, turn=table.turn(), removed=old)
        commit(table, files, app_id=app_id, **options)

    monkeypatch.setattr(LakeTable, "commit", compacted)
    world.ingest()
    assert world.trips() == [("t1", 11), ("t2", 20), ("t3", 30)]


def test_a_backfill_replaces_the_rows_of_its_days_in_one_step_and_no_others(world):
    world.land("a", ("t1", 1, 10), ("t2", 2, 20), ("t3", 3, 30))
    world.ingest()
    world.stream(("t4", 2, 40), ("t5", 3, 50))
    version = world.table.snapshot().version
    found = world.backfill("2020-01-02..2020-01-03", ("t2", 2, 21), ("t6", 2, 60), ("t2", 2, 22), ("t1", 2, 11))
    assert world.counts(found) == (4, 2, 0, 2), "t2 twice, and t1 is on a day that stays"
    assert world.trips() == [("t1", 10), ("t2", 21), ("t3", 30), ("t5", 50), ("t6", 60)]
    assert world.table.snapshot().version == version + 1
    assert world.decisions() == ["accept", "backfill", "accept"]
    said = Decisions(world.store).stream("ingest/trips")[1]
    assert (said.who, said.why.rpartition(": ")[2]) == ("ann", "the source corrected them")


def test_a_backfill_repeated_gives_the_same_rows(world):
    world.land("a", ("t1", 1, 10), ("t2", 2, 20))
    world.ingest()
    for _ in range(2):
        world.backfill("2020-01-02..2020-01-03", ("t2", 2, 21))
        assert world.trips() == [("t1", 10), ("t2", 21)]


def test_a_row_of_another_day_does_not_enter_by_a_backfill(world):
    world.land("a", ("t1", 1, 10), ("t2", 2, 20))
    world.ingest()
    found = world.backfill("2020-01-02..2020-01-03", ("t2", 2, 21), ("t9", 3, 90))
    assert world.counts(found) == (2, 1, 1, 0)
    assert found.evidence.by_reason == (("backfill(at)", 1),)
    assert world.trips() == [("t1", 10), ("t2", 21)]
    (letter,) = dead_letters_table(world.store).read().to_pylist()
    assert (letter["reasons"], json.loads(letter["raw"])["trip"]) == (["backfill(at)"], "t9")


def test_a_backfill_that_was_killed_is_finished_by_the_same_command_or_by_the_next_ingest(world, monkeypatch):
    world.land("a", ("t1", 1, 10), ("t2", 2, 20))
    world.ingest()
    for finish in (lambda: world.backfill("2020-01-02..2020-01-03", ("t2", 2, 21)), world.ingest):
        with monkeypatch.context() as patch:
            patch.setattr(RayIngestor, "_stage_all", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                world.backfill("2020-01-02..2020-01-03", ("t2", 2, 21))
        with pytest.raises(ConfigError, match="has an open manifest"):
            world.backfill("2020-01-01..2020-01-03", ("t2", 2, 21))
        finish()
        assert world.trips() == [("t1", 10), ("t2", 21)]
    assert world.decisions() == ["accept", "backfill", "accept", "backfill", "accept"]


def test_a_backfill_that_the_gate_halts_replaces_nothing_until_it_is_let_in(world):
    world.land("a", ("t1", 1, 10), ("t2", 2, 20))
    world.ingest()
    rows = ("t2", 2, 21), ("t3", 2, -1), ("t4", 2, -1)
    assert world.backfill("2020-01-02..2020-01-03", *rows).verdict.status is Status.HALTED
    assert world.trips() == [("t1", 10), ("t2", 20)]
    world.resolve(2, accept=True)
    assert world.trips() == [("t1", 10), ("t2", 21)]


def test_nothing_new_commits_nothing(world):
    world.land("a", ("t1", 1, 10))
    before = world.ingest().snapshot
    again = world.ingest()
    assert again.verdict.status is Status.NOT_APPLICABLE
    assert again.snapshot == before
    assert world.decisions() == ["accept"]


def test_an_overwritten_object_is_new_and_its_old_events_are_not(world):
    world.land("a", ("t1", 1, 10))
    world.ingest()
    world.land("a", ("t1", 1, 10), ("t2", 1, 20))
    assert world.counts() == (2, 1, 0, 1)


def test_an_object_written_over_before_it_is_read_is_one_letter_and_its_new_version_the_next_generation(
    world, monkeypatch
):
    commit = Manifests.commit

    def then_written_over(self, *manifest):
        entries = commit(self, *manifest)
        world.land("a", ("t1", 1, 10), ("t2", 1, -1), ("t3", 1, 30))
        return entries

    world.land("a", ("t1", 1, 10))
    world.land("b", ("t9", 1, 90))
    with monkeypatch.context() as patch:
        patch.setattr(Manifests, "commit", then_written_over)
        first = world.ingest()
    assert (world.counts(first), first.verdict.status) == ((1, 1, 0, 0), Status.PASSED)
    assert world.counts() == (3, 2, 1, 0)
    assert world.trips() == [("t1", 10), ("t3", 30), ("t9", 90)]
    letters = dead_letters_table(world.store).read().sort_by("generation").to_pylist()
    assert [x["generation"] for x in letters] == [1, 2], "the broken row is dead once, under its own version"
    assert "was written over since it was listed" in letters[0]["reasons"][0]


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


def test_a_decision_that_a_killed_run_did_not_record_is_recorded_by_the_next(world, monkeypatch):
    world.land("a", ("t1", 1, 10))
    with monkeypatch.context() as patch:
        patch.setattr(OpenManifests, "record", lambda *_: None)
        world.ingest()
    assert world.decisions() == []
    world.ingest()
    assert world.decisions() == ["accept"]


def test_a_generation_that_another_run_has_recorded_is_not_recorded_twice(world, monkeypatch):
    commit = RayIngestor._commit

    def then_another_run(self, work):
        commit(self, work)
        monkeypatch.undo()
        world.ingest()

    world.land("a", ("t1", 1, 10))
    monkeypatch.setattr(RayIngestor, "_commit", then_another_run)
    world.ingest()
    assert world.decisions() == ["accept"]


def test_what_was_read_when_its_dead_letters_were_committed_is_what_enters_whatever_changed_since(world, monkeypatch):
    world.land("a", ("t1", 1, 10), ("t2", 1, -1), ("t3", 1, 30))
    with monkeypatch.context() as patch:
        patch.setattr(RayIngestor, "_commit_events", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            world.ingest()
    contract = world.root / "trips.odcs.yaml"
    contract.write_text(contract.read_text().replace("minimum: 0", "minimum: -5"))
    world.land("a", ("t1", 1, 11), ("t2", 1, -1), ("t4", 1, 40))
    assert world.counts() == (3, 2, 1, 0)
    assert world.trips() == [("t1", 10), ("t3", 30)], "t2 has a letter, and an object written over changes nothing"
    assert dead_letters_table(world.store).read().num_rows == 1
    assert world.counts() == (3, 2, 0, 1), "the object's new version is the next to be read"
    assert world.trips() == [("t1", 10), ("t2", -1), ("t3", 30), ("t4", 40)]


def test_a_half_committed_generation_is_not_finished_under_other_columns(world, monkeypatch):
    world.land("a", ("t1", 1, 10))
    with monkeypatch.context() as patch:
        patch.setattr(RayIngestor, "_commit_events", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            world.ingest()
    file = world.root / "trips.odcs.yaml"
    before = file.read_text()
    file.write_text(before + "      - {name: city, logicalType: string}\n")
    with pytest.raises(ContractError, match="half committed under a contract with other columns"):
        world.ingest()
    file.write_text(before)
    assert world.counts() == (1, 1, 0, 0)


def test_an_empty_source_is_an_error_that_says_where_to_land(world):
    with pytest.raises(RaypipeError, match="source `trips` is empty: nothing has landed under"):
        world.ingest()


def test_a_changed_contract_is_refused_before_a_row_is_read(world):
    world.land("a", ("t1", 1, 10))
    world.ingest()
    file = world.root / "trips.odcs.yaml"
    file.write_text(file.read_text() + "      - {name: city, logicalType: string}\n")
    world.land("b", ("t2", 1, 10))
    with pytest.raises(ContractError, match="another contract: city differs"):
        world.ingest()


def test_a_window_finds_duplicates_within_it(world):
    world.land("a", ("t1", 9, 10))
    world.ingest()
    world.land("b", ("t1", 9, 11))
    found = windowed(world)
    assert (found.evidence.accepted, found.evidence.duplicates) == (0, 1)


def windowed(world):
    """Ingest with a window of a day."""
    pipeline = world.pipeline
    source = pipeline.spec.sources["trips"]
    narrow = source.model_copy(update={"dedup": source.dedup.model_validate({"window": "1d"})})
    spec = pipeline.spec.model_copy(update={"sources": {"trips": narrow}})
    return RayIngestor(world.store, lambda: datetime.now(UTC)).ingest(replace(pipeline, spec=spec))["trips"]


def test_a_duplicate_beyond_the_window_enters_and_is_reported(world):
    names = pa.chunked_array([[f"t{n}" for n in range(2_000)]])
    sampled = names.filter(pa.array(in_sample(names)))[0].as_py()
    world.land("a", (sampled, 1, 10))
    windowed(world)
    world.land("b", (sampled, 9, 11))
    found = windowed(world)
    assert (found.evidence.accepted, found.verdict.status) == (1, Status.WARNED)
    assert "beyond the window of 1d" in found.verdict.sentence()
    assert len(world.trips()) == 2
    recorded = json.loads(Decisions(world.store).stream("ingest/trips")[-1].evidence)[RULE]
    assert (recorded["matches"], recorded["before"]) == (1, "2020-01-08")


def test_a_sample_that_a_killed_run_did_not_keep_blocks_nothing(world, monkeypatch):
    world.land("a", ("t1", 1, 10))
    with monkeypatch.context() as patch:
        patch.setattr("raypipe.adapters.ingest_ray.keep_sample", killed)
        with pytest.raises(RuntimeError):
            windowed(world)
    world.land("b", ("t2", 9, 11))
    assert windowed(world).verdict.status is Status.PASSED
    assert [RULE in json.loads(d.evidence) for d in Decisions(world.store).stream("ingest/trips")] == [True, True]


def killed(*_):
    raise RuntimeError("killed")


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
