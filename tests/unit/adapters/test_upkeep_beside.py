"""Upkeep beside writers that add and take away meanwhile: no row is lost, twice, or left too old."""

from __future__ import annotations

import json
from datetime import date

import pyarrow as pa
import pytest
from upkeep_lake import RIDES, Lake, day, ids

from raypipe.adapters import upkeep_compact
from raypipe.adapters.lake.tables import LakeTable
from raypipe.adapters.upkeep_retention import Retainer


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path)


def steps(done, step):
    return [(table, rows, files) for s, table, rows, files in done if s == step]


@pytest.mark.parametrize("kept_open", [False, True])
def test_a_commit_that_the_log_is_kept_in_the_midst_of_is_made(lake, monkeypatch, kept_open):
    monkeypatch.setattr("raypipe.adapters.lake.tables.KEPT", {})
    lake.add()
    monkeypatch.undo()
    table, refuse, waiting = lake.events, LakeTable._refuse_moved, [True]
    if kept_open:
        table.kept_open().files()

    def meanwhile(self, *arguments):
        refuse(self, *arguments)
        if waiting:
            waiting.pop()
            LakeTable(lake.store, "events/rides", pa.schema([])).keep_log()

    monkeypatch.setattr(LakeTable, "_refuse_moved", meanwhile)
    lake.add()
    assert waiting == []
    assert ids(lake.events) == ["r0", "r1"]
    assert lake.events._open().metadata().configuration == {"delta.enableExpiredLogCleanup": "false"}


@pytest.fixture
def between(monkeypatch):
    """Let something happen once, just before a commit under an application id."""

    def arrange(app_id, act):
        commit, waiting = LakeTable.commit, [act]

        def then(self, files, **options):
            if options["app_id"] == app_id and waiting:
                waiting.pop()()
            return commit(self, files, **options)

        monkeypatch.setattr(LakeTable, "commit", then)
        return waiting

    return arrange


def test_old_rows_that_a_writer_brings_meanwhile_leave_too_and_none_is_lost(lake, between):
    lake.add(2, date(2019, 12, 1))
    lake.add(1)
    waiting = between("retention/rides", lambda: (lake.add(3, date(2019, 12, 2)), lake.add(1)))
    assert steps(lake.upkeep(), "retention") == [("events/rides", 5, 2)]
    assert (waiting, ids(lake.events)) == ([], ["r2", "r6"])
    assert [json.loads(d.evidence)["rows"] for d in lake.decisions("retention/rides")] == [5]


def test_a_compaction_that_others_overtook_leaves_alone_what_is_not_there_any_more(lake):
    for _ in range(9):
        lake.add(1, day(59))
        lake.add(1, day(60))
    planned = upkeep_compact.plan(lake.events)
    gone = [f for f in lake.events.files() if f.partition == (("event_date", str(day(59))),)][:1]
    lake.events.commit([], app_id="other", generation=1, removed=gone, turn=lake.events.turn())
    lake.add(1, day(60))
    left = ids(lake.events)
    done = upkeep_compact.apply(lake.events, planned)
    assert [[f.partition for f in g] for g in done.groups] == [[(("event_date", str(day(60))),)] * 9]
    assert ids(lake.events) == left
    assert upkeep_compact.apply(lake.events, planned).groups == (), "its files are gone"
    assert ids(lake.events) == left


def test_old_rows_are_looked_for_again_where_others_overtook_the_plan(lake):
    for n in range(2):
        lake.add(2, date(2019, 12, 1 + n))
    retainer = Retainer(lake.store, "rides", RIDES, lambda: lake.now, "ann")
    (planned,) = retainer.plan()
    old = lake.events.files()[0]
    rows = lake.store.read_parquet(old.uri).slice(0, 1)
    less = [lake.events.write(rows, old.partition)]
    lake.events.commit(less, app_id="other", generation=1, removed=[old], turn=lake.events.turn())
    done = retainer.apply(planned, RIDES.retention)
    assert (done.rows, len(done.files)) == (3, 2)
    assert ids(lake.events) == []
    assert [json.loads(d.evidence)["rows"] for d in lake.decisions("retention/rides")] == [3]


def test_letters_that_are_written_during_a_compaction_are_there_afterwards(lake, between):
    for _ in range(8):
        lake.refuse()
    between("compact/dead_letters", lake.refuse)
    assert steps(lake.upkeep(), "compaction") == [("dead_letters", 8, 8)]
    assert len(ids(lake.letters)) == 9
    assert len(lake.letters.files()) == 2


def test_of_two_compactions_at_once_one_wins_and_no_row_is_twice(lake, between):
    for _ in range(8):
        lake.refuse()
    between("compact/dead_letters", lake.upkeep)
    lake.upkeep()
    assert ids(lake.letters) == [f"l{n}" for n in range(8)]
