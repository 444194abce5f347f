"""Old rows leave, small files become few, files that nobody needs are deleted; on record, and beside other writers."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from upkeep_lake import KEEP, RIDES, START, Lake, day, ids

from raypipe.adapters.ingest_staged import as_metadata, kept_staging
from raypipe.adapters.lake.catalog import KEY_SAMPLES, SAMPLE_APP, added_columns, key_samples_table
from raypipe.adapters.lake.decisions import Decisions
from raypipe.adapters.lake.files import STREAMED
from raypipe.adapters.upkeep_vacuum import Vacuums
from raypipe.contracts.gate import GateEvidence
from raypipe.errors import RaypipeError

GONE = KEEP + timedelta(days=8)
"""After so long, what no version refers to is deleted."""


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path)


def steps(done, step):
    return [(table, rows, files) for s, table, rows, files in done if s == step]


def test_events_leave_when_their_whole_day_is_older_than_the_contract_says(lake):
    # 60 days before noon of 1 March 2020 is noon of 1 January: that day is not over for so long.
    lake.add(2, date(2019, 12, 30))
    lake.add(3, date(2019, 12, 31))
    lake.add(4, day(1))
    assert steps(lake.upkeep(), "retention") == [("events/rides", 5, 2)]
    assert ids(lake.events) == ["r5", "r6", "r7", "r8"]
    lake.pass_days(1)
    assert steps(lake.upkeep(), "retention") == [("events/rides", 4, 1)]


def test_what_left_is_on_record_with_who_and_why(lake):
    lake.add(2, date(2019, 12, 30))
    lake.upkeep()
    (decision,) = lake.decisions("retention/rides")
    assert (decision.who, decision.what) == ("ann", "expire")
    assert decision.why == (
        "2 rows of events/rides are from before 2020-01-01: version 1.2.0 of the contract keeps them for 60 d"
    )
    evidence = json.loads(decision.evidence)
    assert evidence.pop("bytes") > 0
    assert evidence == {"table": "events/rides", "commit": 1, "before": "2020-01-01", "rows": 2, "files": 1}


def test_without_a_retention_nothing_is_too_old(tmp_path):
    lake = Lake(tmp_path, replace(RIDES, retention=None))
    lake.add(1, date(1990, 1, 1))
    lake.refuse()
    lake.pass_days(20_000)
    lake.upkeep()
    assert (len(ids(lake.events)), len(ids(lake.letters))) == (1, 1)


def test_letters_of_the_source_leave_by_when_they_were_refused_and_the_others_stay(lake):
    lake.refuse(2)
    lake.refuse(1, "others")
    lake.pass_days(61)
    lake.refuse(1)
    lake.upkeep()
    assert ids(lake.letters) == ["l2", "l3"]
    assert [json.loads(d.evidence)["table"] for d in lake.decisions("retention/rides")] == ["dead_letters"]


def test_of_a_file_that_several_sources_share_only_the_old_rows_leave(lake):
    mixed = pa.concat_tables([_letters(lake, "a", "rides"), _letters(lake, "b", "others")])
    lake.letters.append(mixed, app_id="writer", generation=1)
    lake.pass_days(61)
    assert steps(lake.upkeep(), "retention") == [("dead_letters", 1, 1)]
    assert ids(lake.letters) == ["b"]
    assert steps(lake.upkeep(), "retention") == []


def test_sampled_ids_of_days_that_left_leave_too(lake):
    table = key_samples_table(lake.store, "rides")
    rows = {"event_id": ["old", "new"], "event_date": [date(2019, 1, 1), day(60)], "generation": [1, 1]}
    table.append(pa.table(rows, schema=KEY_SAMPLES), app_id=SAMPLE_APP, generation=1)
    assert steps(lake.upkeep(), "retention") == [("key_samples/rides", 1, 1)]
    assert ids(table) == ["new"]
    assert table.generation(SAMPLE_APP) == 2, "an ingest that compared with the old ones must know"


def test_what_arrives_too_old_enters_and_leaves_with_the_next_upkeep(lake):
    lake.upkeep()
    lake.add(1, date(2013, 1, 1))
    assert ids(lake.events) == ["r0"]
    lake.upkeep()
    assert ids(lake.events) == []


def test_small_files_become_few_and_the_commits_of_others_keep_what_they_carry(lake):
    staged = as_metadata(lake.events.schema, (), GateEvidence(rows=7))
    lake.letters.commit([], app_id="ingest/rides", generation=1, metadata=staged)
    for _ in range(8):
        lake.refuse(2)
        lake.add(1)
    before = ids(lake.letters), ids(lake.events)
    assert steps(lake.upkeep(), "compaction") == [("events/rides", 8, 8), ("dead_letters", 16, 8)]
    assert (ids(lake.letters), ids(lake.events)) == before
    assert (len(lake.letters.files()), len(lake.events.files())) == (1, 1)
    assert kept_staging(lake.letters, "ingest/rides", 1, lake.events.schema).evidence.rows == 7
    assert steps(lake.upkeep(), "compaction") == []
    entry = sorted(Path(lake.letters.uri, "_delta_log").glob("*.json"))[-1].read_text()
    changes = [json.loads(line) for line in entry.splitlines()]
    assert {c[kind]["dataChange"] for c in changes for kind in ("add", "remove") if kind in c} == {False}


def test_streamed_files_stay_streamed_and_are_not_mixed_with_those_of_objects(lake):
    for n in range(16):
        lake.add(1, streamed=n % 2 == 0)
    lake.upkeep()
    names = [f.uri.rpartition("/")[2] for f in lake.events.files()]
    assert sorted(n.startswith(STREAMED) for n in names) == [False, True]


def test_decisions_are_compacted_and_their_chain_holds(lake):
    last = None
    for n in range(9):
        said = {"stream": "s", "at": START, "who": "ann", "what": "say", "why": str(n), "evidence": {}}
        last = Decisions(lake.store).record(last, **said)
    assert steps(lake.upkeep(), "compaction") == [("decisions", 9, 9)]
    assert [d.why for d in lake.decisions("s")] == [str(n) for n in range(9)]
    Decisions(lake.store).record(last, **said)
    assert len(lake.decisions("s")) == 10


def test_files_of_old_versions_are_deleted_and_those_of_young_ones_are_not(lake):
    for _ in range(8):
        lake.add()
    small = lake.data(lake.events)
    lake.upkeep()
    lake.pass_days(29)
    assert steps(lake.upkeep(), "vacuum") == []
    assert small < lake.data(lake.events)
    lake.pass_days(GONE.days - 29)
    assert steps(lake.upkeep(), "vacuum") == [("events/rides", None, 8)]
    assert lake.data(lake.events) == {f.uri for f in lake.events.files()}
    assert len(ids(lake.events)) == 8
    (decision,) = lake.decisions("vacuum")
    assert json.loads(decision.evidence)["tables"]["events/rides"]["files"] == 8
    assert steps(lake.upkeep(), "vacuum") == []


def test_a_file_that_left_lately_stays_however_long_ago_it_was_written(lake):
    for _ in range(8):
        lake.add()
    lake.pass_days(50)
    lake.upkeep()
    lake.pass_days(29)
    lake.upkeep()
    assert len(ids(lake.events, version=8)) == 8


def test_a_file_that_was_written_before_a_kept_version_and_committed_after_it_is_needed(lake):
    lake.add()
    late = lake.events.write(lake.event_rows(1, day(60)), (("event_date", "2020-02-29"),))
    lake.pass_days(6)
    lake.events.commit([late], app_id="late", generation=1, turn=lake.events.turn())
    with_it = lake.events.standing().version
    lake.pass_days(4)
    lake.events.commit([], app_id="other", generation=1, removed=lake.events.files(), turn=lake.events.turn())
    lake.pass_days(23)
    lake.upkeep()
    assert ids(lake.events, with_it) == ["r0", "r1"]


def test_what_a_killed_run_left_is_deleted_when_no_run_can_still_commit_it(lake):
    lake.add()
    orphan = lake.events.write(lake.event_rows(1, day(60)), (("event_date", "2020-02-29"),))
    dying = Path(lake.events.uri, "event_date=2020-02-29", ".0a.parquet.b1c2")
    dying.write_bytes(b"half")
    lake.pass_days(36)
    lake.upkeep()
    assert dying.exists()
    assert f"{lake.events.uri}/{orphan.path}" in lake.data(lake.events)
    lake.pass_days(2)
    assert ("events/rides", None, 2) in steps(lake.upkeep(), "vacuum")
    assert not dying.exists()
    assert f"{lake.events.uri}/{orphan.path}" not in lake.data(lake.events)
    assert ids(lake.events) == ["r0"]


def test_what_an_open_generation_staged_is_never_deleted(lake):
    lake.add()
    rows = lake.event_rows(3, day(60))
    file = lake.events.write(rows, (("event_date", "2020-02-29"),))
    staged = as_metadata(lake.events.schema, (file,), GateEvidence(rows=3, accepted=3))
    lake.letters.commit([], app_id="ingest/rides", generation=1, metadata=staged)
    lake.pass_days(400)
    lake.upkeep()
    kept = kept_staging(lake.letters, "ingest/rides", 1, lake.events.schema)
    lake.events.commit(kept.files, app_id="ingest/rides", generation=1, turn=lake.events.turn())
    assert ids(lake.events) == ["r1", "r2", "r3"]


def test_a_version_that_a_registered_model_was_made_from_is_kept_until_the_model_goes(lake):
    for _ in range(8):
        lake.add()
    lake.register(lake.events, 8)
    lake.pass_days(1)
    lake.upkeep()
    lake.pass_days(100)
    done = lake.upkeep()
    assert steps(done, "retention") == [("events/rides", 8, 1)], "rows leave the table all the same"
    assert steps(done, "kept") == [("events/rides", None, 8)]
    assert len(ids(lake.events, version=8)) == 8
    lake.models.registered.clear()
    assert ("events/rides", None, 8) in steps(lake.upkeep(), "vacuum")
    with pytest.raises(RaypipeError):
        ids(lake.events, version=8)


def test_where_a_bundle_is_gone_nothing_is_vacuumed(lake):
    for _ in range(8):
        lake.add()
    digest = lake.register(lake.events, 8)
    shutil.rmtree(lake.root / "bundles" / digest)
    lake.pass_days(40)
    files = lake.data(lake.events)
    with pytest.raises(RaypipeError, match="it is not known what rides/1 was made from .* delete the version"):
        lake.upkeep()
    assert files <= lake.data(lake.events)


def test_where_the_log_of_a_models_version_is_gone_its_table_is_left_alone(lake):
    lake.add()
    Path(lake.events.uri, "orphan.parquet").write_bytes(b"x")
    vacuums = Vacuums(lake.store, {"events/rides": {99: "rides/2"}}, lambda: START + 999 * KEEP, KEEP)
    found = vacuums.plan("events/rides")
    assert found.unknown == "version 99, which rides/2 was made from, has left its log"
    assert found.objects == ()
    assert Vacuums(lake.store, {}, lambda: START + 999 * KEEP, KEEP).plan("events/rides").objects


def test_where_files_are_not_where_the_table_says_nothing_of_it_is_deleted(lake):
    lake.add()
    lake.add()
    Path(lake.events.files()[0].uri).unlink()
    Path(lake.events.uri, "orphan.parquet").write_bytes(b"x")
    lake.pass_days(GONE.days)
    assert steps(lake.upkeep(), "kept") == [("events/rides", None, 0)]
    assert Path(lake.events.uri, "orphan.parquet").exists()


def test_a_dry_run_says_the_same_and_changes_nothing(lake):
    for _ in range(8):
        lake.add(1, date(2019, 12, 1))
        lake.add(1)
    lake.refuse(3)
    lake.stamp()
    before = {p: p.stat().st_mtime_ns for p in lake.root.rglob("*")}
    promised = lake.upkeep(dry_run=True)
    assert {p: p.stat().st_mtime_ns for p in lake.root.rglob("*")} == before
    assert steps(promised, "retention") == [("events/rides", 8, 8)]
    done = lake.upkeep()
    assert steps(done, "retention") == steps(promised, "retention")


def test_a_table_that_an_older_version_made_keeps_its_log_from_now_on(lake, monkeypatch):
    monkeypatch.setattr("raypipe.adapters.lake.tables.KEPT", {"delta.logRetentionDuration": "interval 30 days"})
    lake.add()
    monkeypatch.undo()
    lake.upkeep()
    properties = lake.events._open().metadata().configuration
    assert properties["delta.enableExpiredLogCleanup"] == "false"
    version = lake.events.standing().version
    lake.upkeep()
    assert lake.events.standing().version == version
    lake.add()
    assert ids(lake.events) == ["r0", "r1"]


def test_events_of_a_source_that_another_file_has_are_left_alone(lake):
    other = added_columns(lake.store, "walks")
    other.append(pa.table({n: [] for n in other.schema.names}, schema=other.schema), app_id="w", generation=1)
    Path(other.uri, "orphan.parquet").write_bytes(b"x")
    lake.add()
    lake.pass_days(GONE.days)
    lake.upkeep()
    assert Path(other.uri, "orphan.parquet").exists()


def _letters(lake, letter, source):
    row = {"letter_id": letter, "source": source, "raw": "{}", "types": "", "reasons": []}
    row |= {"source_position": "o#1", "contract_version": "1", "generation": 1, "known_at": lake.now}
    return pa.Table.from_pylist([row], schema=lake.letters.schema)
