from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from raypipe.adapters.lake.actions import Standing
from raypipe.adapters.lake.store import Store
from raypipe.adapters.lake.tables import LakeTable
from raypipe.environment import StoreAddress
from raypipe.errors import ContractError, GenerationMoved, Unavailable

SCHEMA = pa.schema({"n": pa.int64(), "day": pa.date32()})


@pytest.fixture
def table(tmp_path):
    return LakeTable(Store(StoreAddress(lake=str(tmp_path))), "events/x", SCHEMA, partition_by=("day",))


def rows(*numbers):
    return pa.table({"n": list(numbers), "day": [None] * len(numbers)}, schema=SCHEMA)


def written(table, *numbers):
    return table.write(rows(*numbers), (("day", "2013-01-01"),))


def test_an_absent_table_is_empty_and_at_generation_zero(table):
    assert table.generation("a") == 0
    assert table.read().num_rows == 0
    assert table.files() == ()
    assert table.snapshot().version == -1


def test_committed_rows_are_read_with_their_partition(table):
    table.commit([written(table, 1, 2)], app_id="a", generation=1)
    assert [str(r["day"]) for r in table.read().to_pylist()] == ["2013-01-01", "2013-01-01"]
    (file,) = table.files()
    assert file.rows == 2
    assert file.partition == (("day", "2013-01-01"),)


def test_written_files_are_invisible_until_their_commit(table):
    table.commit([], app_id="a", generation=1)
    written(table, 1)
    assert table.read().num_rows == 0


@pytest.mark.parametrize("generation", [1, 3])
def test_a_generation_that_does_not_follow_is_refused_and_changes_nothing(table, generation):
    table.commit([written(table, 1)], app_id="a", generation=1)
    with pytest.raises(GenerationMoved, match=f"expected {generation - 1}, found 1"):
        table.commit([written(table, 2)], app_id="a", generation=generation)
    assert table.read(["n"]).column("n").to_pylist() == [1]


def test_a_commit_whose_reply_was_lost_is_ours_and_not_another_runs(table, monkeypatch):
    commit = DeltaTable.create_write_transaction

    def then_second_to_itself(self, *arguments, **options):
        commit(self, *arguments, **options)
        raise CommitFailedError("a concurrent transaction deleted the same data")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", then_second_to_itself)
    table.commit([written(table, 1)], app_id="a", generation=1, metadata={"counts": 1})
    assert table.read(["n"]).column("n").to_pylist() == [1]
    assert table.metadata("a")["counts"] == 1


def test_of_two_that_race_for_a_generation_exactly_one_wins(table):
    table.commit([], app_id="a", generation=1)

    def attempt(number):
        try:
            table.commit([written(table, number)], app_id="a", generation=2)
        except GenerationMoved:
            return 0
        return 1

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(attempt, range(4))) == 1
    assert table.read().num_rows == 1
    assert table.generation("a") == 2


def test_streams_do_not_disturb_each_other(table):
    table.commit([written(table, 1)], app_id="a", generation=1)
    table.commit([written(table, 2)], app_id="b", generation=1)
    assert (table.generation("a"), table.generation("b")) == (1, 1)
    assert table.read().num_rows == 2


def test_metadata_of_a_stream_is_that_of_its_last_commit(table):
    table.commit([], app_id="a", generation=1, metadata={"rows": 1})
    table.commit([], app_id="a", generation=2, metadata={"rows": 2})
    table.commit([], app_id="b", generation=1, metadata={"rows": 3})
    assert table.metadata("a")["rows"] == 2
    assert table.metadata("c") is None


def test_an_overwrite_replaces_all_rows_and_keeps_old_versions_readable(table):
    table.commit([written(table, 1)], app_id="a", generation=1)
    first = table.snapshot().version
    table.commit([written(table, 2)], app_id="a", generation=2, overwrite=True)
    assert table.read(["n"]).column("n").to_pylist() == [2]
    assert table.read(["n"], version=first).column("n").to_pylist() == [1]


def test_a_snapshot_names_the_same_rows_by_the_same_digest(table):
    table.commit([written(table, 1)], app_id="a", generation=1)
    before = table.snapshot()
    table.commit([written(table, 2)], app_id="a", generation=2)
    assert table.snapshot(before.version) == before
    assert table.snapshot().digest != before.digest


def test_other_columns_are_refused_by_an_append_and_replaced_by_an_overwrite(table):
    table.commit([written(table, 1)], app_id="a", generation=1)
    wider = LakeTable(table.store, table.name, SCHEMA.append(pa.field("x", pa.float64())), partition_by=("day",))
    with pytest.raises(ContractError, match="another contract: x differs"):
        wider.refuse_other_columns()
    with pytest.raises(ContractError, match="give the source a new name"):
        wider.commit([], app_id="a", generation=2)
    wider.commit([], app_id="a", generation=2, overwrite=True)
    assert wider.read().column_names == ["n", "day", "x"]


def test_files_leave_in_the_step_in_which_others_come(table):
    table.commit([written(table, 1), written(table, 2)], app_id="a", generation=1, turn=0)
    one = next(f for f in table.files() if table.store.read_parquet(f.uri)["n"].to_pylist() == [1])
    table.commit([written(table, 3)], app_id="a", generation=2, turn=1, removed=[one])
    assert sorted(table.read(["n"])["n"].to_pylist()) == [2, 3]


def test_a_commit_out_of_turn_is_refused_whoever_made_the_other(table):
    turn = table.turn()
    table.commit([written(table, 1)], app_id="a", generation=1, turn=turn)
    with pytest.raises(GenerationMoved, match="expected 0, found 1") as refused:
        table.commit([written(table, 1)], app_id="b", generation=1, turn=turn)
    assert refused.value.stream == "turn"
    assert (table.turn(), table.generation("b"), table.read().num_rows) == (1, 0, 1)


def test_of_streams_that_race_for_a_turn_exactly_one_wins(table):
    table.commit([], app_id="a", generation=1, turn=0)

    def attempt(number):
        try:
            table.commit([written(table, number)], app_id=f"s{number}", generation=1, turn=1)
        except GenerationMoved:
            return 0
        return 1

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(attempt, range(4))) == 1
    assert table.read().num_rows == 1


def test_positions_are_kept_in_the_same_step(table):
    table.commit([written(table, 1)], app_id="a", generation=1, positions={"topic:0": 17, "topic:1": 4})
    assert (table.generation("topic:0"), table.generation("topic:1")) == (17, 4)
    with pytest.raises(GenerationMoved):
        table.commit([written(table, 1)], app_id="a", generation=1, positions={"topic:0": 30})
    assert table.generation("topic:0") == 17


def test_where_a_table_stands_is_read_at_once_and_an_absent_one_is_before_its_first_version(table):
    assert table.standing(["a"]) == Standing(-1, 0, {"a": 0})
    version = table.commit([], app_id="a", generation=1, turn=0, positions={"p": 9})
    found = table.standing(["a", "p"])
    assert (found.version, found.turn) == (version, 1)
    assert (found.numbers["a"], found.numbers["p"]) == (1, 9)
    assert table.commit([], app_id="a", generation=2) == version + 1


def test_a_table_that_is_kept_open_sees_what_others_commit_and_races_as_before(table):
    kept = LakeTable(table.store, table.name, SCHEMA, partition_by=("day",)).kept_open()
    kept.commit([written(kept, 1)], app_id="a", generation=1)
    table.commit([written(table, 2)], app_id="b", generation=1)
    assert kept.generation("b") == 1
    assert sorted(kept.read(["n"])["n"].to_pylist()) == [1, 2]
    table.commit([], app_id="a", generation=2)
    with pytest.raises(GenerationMoved, match="expected 1, found 2"):
        kept.commit([], app_id="a", generation=2)
    assert kept.commit([], app_id="a", generation=3) == table.standing().version


def test_files_are_named_as_their_writer_says_and_may_say_that_no_row_changed(table):
    file = table.write(rows(1), (("day", "2013-01-01"),), streamed=True)
    assert file.path.startswith("day=2013-01-01/stream-")
    version = table.commit([file], app_id="a", generation=1, data_change=False)
    log = (Path(table.uri) / "_delta_log" / f"{version:020d}.json").read_text()
    assert '"dataChange":false' in log


def test_a_store_that_does_not_answer_is_said_in_one_plain_line():
    store = Store(StoreAddress(lake="s3://lake", endpoint="http://127.0.0.1:9"))
    with pytest.raises(Unavailable) as away:
        LakeTable(store, "decisions", SCHEMA).generation("x")
    said = away.value.message
    assert said.startswith("the object store at http://127.0.0.1:9 does not answer for the table decisions (")
    assert said.endswith("): is it running? Nothing was lost; run again")
    assert not set(said) & set("\x1b\n")


@pytest.mark.parametrize("ask", [lambda t: t.generation("a"), lambda t: t.standing(["a"]), lambda t: t.turn()])
def test_a_store_that_goes_away_while_a_number_is_looked_up_is_unavailable(table, monkeypatch, ask):
    table.append(rows(1), app_id="a", generation=1)

    def away(self, name):
        raise OSError("Generic S3 error: Error performing GET")

    monkeypatch.setattr(DeltaTable, "transaction_version", away)
    with pytest.raises(Unavailable):
        ask(table)
