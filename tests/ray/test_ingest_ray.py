"""Objects become rows once: what is new, what is double, what is replaced, and what an earlier run left open."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from raypipe.adapters.ingest_manifest import OpenManifests
from raypipe.adapters.ingest_ray import RayIngestor
from raypipe.adapters.lake.catalog import dead_letters_table
from raypipe.adapters.lake.decisions import Decisions
from raypipe.adapters.lake.manifests import Manifests
from raypipe.adapters.lake.tables import LakeTable
from raypipe.contracts.late import RULE, in_sample
from raypipe.errors import ConfigError, ContractError, RaypipeError
from raypipe.verdict import Status

pytestmark = [
    pytest.mark.usefixtures("ray_cluster"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


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
