"""Refused records become events once their contract is mended, each once; or a person gives them up."""

import polars as pl
import pyarrow as pa
import pytest
from dlq_world import NAIVE, World, encoded, row

from raypipe.adapters.lake.catalog import dead_letters_table
from raypipe.adapters.lake.letters import Fate, LetterStatus
from raypipe.errors import ConfigError, ContractError

FORMATS = ("csv", "jsonl", "parquet", "avro")


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture(params=FORMATS)
def any_world(tmp_path, request):
    return World(tmp_path, request.param)


def test_what_keeps_the_mended_contract_becomes_events_as_if_it_had_never_been_refused(any_world):
    any_world.land("a", row("t1"), row("t2", minutes=20.5), row("t3", minutes=99.0))
    any_world.ingest()
    known_at = any_world.letters()["known_at"][0]
    any_world.promise(maximum=50, version="1.1.0")
    done = any_world.replay()
    assert (done.count(Fate.ACCEPTED), done.count(Fate.DUPLICATE)) == (1, 0)
    assert list(done.refused.values()) == [("range(minutes)",)]
    (event,) = [e for e in any_world.events() if e["trip"] == "t2"]
    assert {k: event[k] for k in ("minutes", "seats", "day", "shared")} == {
        "minutes": 20.5,
        "seats": 2,
        "day": event["at"].date(),
        "shared": True,
    }
    assert event["source_position"] == f"{any_world.landing / 'a'}#1"
    assert (event["known_at"], event["generation"], event["contract_version"]) == (known_at, 1, "1.1.0")
    assert any_world.statuses() == ["replayed", "open"]
    (decision,) = any_world.decisions()
    assert decision == ("replay", "ann", {"fates": 1, "replay": 1, "accepted": 1})


def test_letters_of_several_generations_keep_what_was_their_own(world):
    for name in "abc":
        world.land(name, row(f"{name}1", minutes=20.0), row(f"{name}2", minutes=99.0), row(f"{name}3", seats=11))
        world.ingest()
    world.promise(maximum=50)
    own = {r["source_position"]: (r["generation"], r["known_at"]) for r in world.letters().to_dicts()}
    world.replay()
    assert len(world.events()) == 6
    assert all((e["generation"], e["known_at"]) == own[e["source_position"]] for e in world.events())
    assert len({e["known_at"] for e in world.events()}) == 3


def test_a_record_that_says_when_it_was_known_is_believed(world):
    contract = world.root / "trips.odcs.yaml"
    world.land("a", row("t1", minutes=20.0))
    world.ingest()
    world.promise(maximum=50)
    clocks = "customProperties: [{property: eventAt, value: at}, {property: knownAt, value: at}]"
    contract.write_text(contract.read_text().replace("customProperties: [{property: eventAt, value: at}]", clocks))
    world.replay()
    assert world.events()[0]["known_at"] == row("t1")["at"]


def test_a_replay_again_changes_nothing(any_world):
    any_world.land("a", row("t2", minutes=20.0), row("t3", minutes=99.0))
    any_world.ingest()
    any_world.promise(maximum=50)
    any_world.replay()
    before = any_world.files()
    again = any_world.replay()
    assert not again.fates
    assert len(again.refused) == 1
    assert any_world.files() == before


def test_text_of_a_csv_is_a_number_again_and_text_of_json_is_not(tmp_path):
    accepted = {}
    for format in ("csv", "jsonl"):
        root = tmp_path / format
        root.mkdir()
        world = World(root, format)
        world.land("a", row("t1", minutes="20"))
        world.ingest()
        world.promise(maximum=50)
        accepted[format] = len(world.replay().fates)
    assert accepted == {"csv": 1, "jsonl": 0}


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_a_time_without_a_zone_is_let_in_where_the_mended_contract_takes_it(tmp_path, unit):
    world = World(tmp_path, "parquet")
    world.land("a", row("t1"), types={"at": pl.Datetime(unit)})
    world.ingest()
    assert not world.events()
    world.promise(at=NAIVE)
    assert len(world.replay().fates) == 1
    assert world.events()[0]["at"] == row("t1")["at"]


def test_avro_unions_keep_the_type_that_each_row_chose(tmp_path):
    world = World(tmp_path, "avro")
    world.land("a", row("t1", minutes=20.0), row("t2", minutes="20"))
    world.ingest()
    world.promise(maximum=50)
    assert list(world.replay().refused.values()) == [("type(minutes)",)]
    assert world.trips() == [("t1", 20.0)]


@pytest.mark.parametrize(
    ("format", "data", "reason"),
    [
        ("jsonl", b"{oops", "malformed(json)"),
        ("jsonl", b"[1]", "malformed(object)"),
        ("jsonl", b'{"trip": "\xff"}', "malformed(encoding)"),
        ("csv", b"trip,at\n1,2,3\n", "malformed(columns)"),
        ("parquet", b"nonsense", "unreadable"),
        ("avro", b"nonsense", "unreadable"),
    ],
)
def test_what_is_no_row_stays_open_and_is_said_to_be_none(tmp_path, format, data, reason):
    world = World(tmp_path, format)
    (world.landing / "a").write_bytes(data)
    world.ingest()
    done = world.replay()
    ((said,),) = done.rowless.values()
    assert len(done.fates) + len(done.refused) == 0
    assert said.startswith(reason)
    assert world.statuses() == ["open"]
    assert not world.decisions()


def test_a_letter_whose_event_came_from_elsewhere_is_a_duplicate(world):
    world.land("a", row("t1", minutes=20.0), row("t2", minutes=20.0), row("t2", minutes=21.0))
    world.ingest()
    world.land("b", row("t1", minutes=7.0))
    world.ingest()
    world.promise(maximum=50)
    done = world.replay()
    assert [*done.fates.values()] == [Fate.DUPLICATE, Fate.ACCEPTED, Fate.DUPLICATE]
    assert world.trips() == [("t1", 7.0), ("t2", 20.0)]
    assert world.statuses() == ["replayed"] * 3
    assert [d[2] for d in world.decisions()] == [{"fates": 1, "replay": 1, "accepted": 1, "duplicate": 2}]


def test_an_event_from_the_same_place_of_an_overwritten_object_makes_a_duplicate(world):
    world.land("a", row("t1", minutes=20.0))
    world.ingest()
    world.land("a", row("t1", minutes=7.0, shared=False))
    world.ingest()
    world.promise(maximum=50)
    assert [*world.replay().fates.values()] == [Fate.DUPLICATE]
    assert world.trips() == [("t1", 7.0)]


def test_a_dry_run_says_the_same_and_changes_nothing(world):
    world.land("a", row("t1", minutes=20.0), row("t2", minutes=99.0))
    world.ingest()
    world.promise(maximum=50)
    before = world.files()
    said = world.replay(dry_run=True)
    assert world.files() == before
    assert world.replay() == said


def test_rows_acknowledged_are_accepted_and_open_and_duplicates_at_all_times(world):
    world.land("a", row("t1"), row("t1"), row("t2", minutes=20.0), row("t2", minutes=21.0), row("t3", minutes=99.0))
    counts = world.ingest()
    world.promise(maximum=50)
    world.replay()
    fates = world.letters()["fate"].to_list()
    refused = sum(f is None or f == Fate.DROPPED for f in fates)
    assert counts.rows == len(world.events()) + refused + counts.duplicates + fates.count(Fate.DUPLICATE)


def test_letters_are_chosen_by_reason_generation_source_and_id(world):
    world.land("a", row("t1", minutes=20.0), row("t2", seats=20))
    world.ingest()
    world.land("b", row("t3", minutes=20.0, seats=20), row("t4", minutes=21.0))
    world.ingest()
    world.promise(maximum=50)
    ids = world.letters()["letter_id"].to_list()

    def chosen(**selection):
        return [ids.index(i) for i in world.replay(dry_run=True, **selection).fates]

    assert chosen(reason="range(minutes)") == [0, 2, 3]
    assert chosen(reason="range") == [0, 1, 2, 3]
    assert chosen(reason="type") == chosen(generation=3) == []
    assert chosen(reason="range(seats)", generation=2) == [2]
    assert [*world.replay(ids[3][:8], ids[1], dry_run=True).fates] == [ids[1], ids[3]]
    since = world.letters()["known_at"][2]
    assert chosen(since=since) == [2, 3]


def test_an_id_that_names_none_or_several_is_an_error(world):
    world.land("a", *(row(f"t{i}", minutes=20.0) for i in range(20)))
    world.ingest()
    with pytest.raises(ConfigError, match="no dead letter begins with 'zz'"):
        world.replay("zz")
    with pytest.raises(ConfigError, match="20 dead letters begin with ''"):
        world.replay("")


def test_a_source_that_the_pipeline_lacks_is_an_error(world):
    with pytest.raises(ConfigError, match="there is no source `planes`: the pipeline has trips"):
        world.replay(sources=("planes",))


def test_a_contract_with_other_columns_is_refused_before_anything_is_checked(world):
    world.land("a", row("t1"), row("t2", minutes=20.0))
    world.ingest()
    contract = world.root / "trips.odcs.yaml"
    contract.write_text(
        contract.read_text().replace("{name: seats, logicalType: integer", "{name: seats, logicalType: number")
    )
    with pytest.raises(ContractError, match="seats"):
        world.replay()
    assert world.statuses() == ["open"]


def test_what_is_dropped_stays_as_evidence_and_is_replayed_only_by_name(world):
    world.land("a", row("t1", minutes=20.0), row("t2", minutes=20.0))
    world.ingest()
    one, other = world.letters()["letter_id"].to_list()
    assert world.drop(one) == {"trips": 1}
    assert world.drop(one) == {"trips": 0}
    assert world.statuses() == ["dropped", "open"]
    assert dead_letters_table(world.store).read().num_rows == 2
    assert world.decisions() == [("drop", "bob", {"fates": 1, "replay": 0, "dropped": 1})]
    world.promise(maximum=50)
    assert [*world.replay().fates] == [other]
    assert [*world.replay(one).fates] == [one]
    assert world.statuses() == ["replayed", "replayed"]
    with pytest.raises(ConfigError, match="was replayed already"):
        world.drop(one)


def test_a_drop_takes_only_what_is_open(world):
    world.land("a", row("t1", minutes=20.0), row("t2", minutes=99.0))
    world.ingest()
    world.promise(maximum=50)
    world.replay()
    assert world.drop(reason="range") == {"trips": 1}
    assert world.statuses() == [LetterStatus.REPLAYED, LetterStatus.DROPPED]
    assert world.drop(reason="range") == {}


def test_who_looked_is_a_decision(world):
    world.land("a", row("t1", minutes=20.0))
    world.ingest()
    letter = world.letters()["letter_id"][0]
    world.queue.unmask(letter, "trips", who="eve")
    assert world.decisions() == [("unmask", "eve", {"letter": letter})]


def test_the_window_of_the_source_limits_what_is_compared(world):
    world.config.write_text(
        world.config.read_text().replace("    halt_when:", "    dedup: {window: 1d}\n    halt_when:")
    )
    world.land("a", row("t1", day=1))
    world.land("b", row("t1", minutes=20.0, day=9))
    world.ingest()
    world.promise(maximum=50)
    assert [*world.replay().fates.values()] == [Fate.ACCEPTED]
    assert world.trips() == [("t1", 5.0), ("t1", 20.0)]


def test_an_event_of_an_object_takes_the_place_of_a_streamed_one(world):
    world.land("a", row("t1", minutes=20.0))
    world.land("b", row("t1", minutes=7.0), row("t2"))
    world.ingest()
    stream(world)
    world.promise(maximum=50)
    assert [*world.replay().fates.values()] == [Fate.ACCEPTED]
    assert world.trips() == [("t1", 20.0), ("t2", 5.0)]
    assert [f.streamed for f in world.table.files()] == [False, True]
    assert world.statuses() == ["replayed"]


def test_a_streamed_letter_becomes_a_streamed_event_and_gives_way_to_an_object(world):
    letters = dead_letters_table(world.store)
    world.land("a", row("t1"), row("t2", minutes=20.0), row("t3", minutes=20.0), row("t4", minutes=20.0))
    world.ingest()
    streamed = pl.DataFrame(letters.read()).filter(~pl.col("raw").str.contains("t2"))
    places, ids = pl.col("source_position"), pl.col("letter_id")
    streamed = streamed.with_columns(places.str.replace(".*#", "topic/0@"), ids.str.reverse())
    letters.append(streamed.to_arrow().cast(letters.schema), app_id="stream/trips", generation=1)
    world.promise(maximum=50)
    (last,) = [e["letter_id"] for e in world.letters().to_dicts() if e["source_position"] == f"{world.landing / 'a'}#3"]
    world.drop(last)
    fates = world.replay().fates
    assert sorted(fates.values()) == [Fate.ACCEPTED, Fate.ACCEPTED, Fate.ACCEPTED, Fate.DUPLICATE]
    found = {e["trip"]: e["source_position"] for e in world.events()}
    assert {t: p.startswith("topic/") for t, p in found.items()} == {"t1": False, "t2": False, "t3": False, "t4": True}
    assert sorted(f.streamed for f in world.table.files()) == [False, False, True]


def test_a_letter_of_a_day_that_was_filled_again_stays_out(world):
    world.land("a", row("t1", minutes=20.0), row("t2", minutes=20.0, day=2))
    world.ingest()
    better = world.root / "better"
    better.mkdir()
    lines = [encoded([r], "jsonl") for r in (row("t3"), row("t4", minutes=30.0), row("t5", day=3))]
    (better / "b").write_bytes(b"\n".join(lines))
    world.backfill("2020-01-01..2020-01-02", better)
    world.promise(maximum=50)
    done = world.replay()
    assert world.trips() == [("t2", 20.0), ("t3", 5.0), ("t4", 30.0)]
    assert sorted(done.refused.values()) == [("backfill(at)",)] * 2
    assert sorted(world.statuses()) == ["open", "open", "replayed", "replayed"]


def stream(world):
    """Let all rows of the table be as a stream would have written them."""
    table = world.table
    files = [table.write(pa.table(world.store.read_parquet(f.uri)), f.partition, streamed=True) for f in table.files()]
    table.commit(files, app_id="stream", generation=1, removed=table.files(), turn=table.turn())


def test_counts_do_not_read_payloads(world, monkeypatch):
    world.land("a", row("t1", minutes=20.0))
    world.ingest()
    asked = []
    read = type(world.table).read

    def noted(table, columns=None, *rest, **named):
        asked.append((table.name, columns))
        return read(table, columns, *rest, **named)

    monkeypatch.setattr(type(world.table), "read", noted)
    world.letters()
    assert {"raw", "types"}.isdisjoint({c for _, columns in asked for c in columns})


def test_nothing_was_refused_is_no_letter(world):
    assert world.letters().is_empty()
    assert world.drop(sources=("trips",)) == {}
    world.land("a", row("t1"))
    world.ingest()
    done = world.replay()
    assert len(done.fates) + len(done.refused) + len(done.rowless) == 0
