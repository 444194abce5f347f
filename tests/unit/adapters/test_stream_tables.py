"""What a stream commits is there once, whoever else writes and wherever it is killed."""

from __future__ import annotations

from threading import Event, current_thread, main_thread

import pyarrow as pa
import pytest
from streams import FIELDS, NOW, ListFeed, Place, ride

from raypipe.adapters import stream_loop
from raypipe.adapters.feed import Messages
from raypipe.adapters.ingest_split import Arrival
from raypipe.adapters.lake.tables import LakeTable
from raypipe.adapters.stream_batch import read_batch
from raypipe.adapters.stream_loop import Until
from raypipe.contracts.contract import Contract, Field
from raypipe.errors import GenerationMoved, Unavailable

NAME = "stream/rides/rides/0"
ALL = Until(caught_up=True)


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def opened(place, feed, who="one"):
    tables = place.tables(who)
    feed.seek(tables.open(feed.names()))
    return tables


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours runs after it."""


def killed_at(monkeypatch, table, moment):
    """Let the process die before or after the next commit of a table."""
    commit = LakeTable.commit

    def die(self, files, **options):
        if not self.name.startswith(table):
            return commit(self, files, **options)
        if moment == "after":
            commit(self, files, **options)
        raise Killed

    monkeypatch.setattr(LakeTable, "commit", die)


def test_events_letters_and_the_position_are_there_after_a_commit(place):
    feed = ListFeed([ride(1), b"nope", ride(2), ride(1)])
    tables = opened(place, feed)
    counts = tables.commit(place.batch(feed, 1))
    assert (counts.rows, counts.accepted, counts.dead_letters, counts.duplicates) == (4, 2, 1, 1)
    assert place.ids() == ["r1", "r2"]
    assert place.letter_places() == ["list://rides/0#1"]
    assert (place.events.generation("stream/rides"), place.events.generation(NAME)) == (1, 4)
    assert [f.uri.rpartition("/")[2][:7] for f in (*place.events.files(), *place.letters.files())] == ["stream-"] * 2


@pytest.mark.parametrize("table", ["dead_letters", "events"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_around_a_commit_and_run_again_in_other_batches_nothing_is_lost_or_twice(
    place, monkeypatch, table, moment
):
    values = [ride(1), b"nope", ride(2), b"no", ride(3), b"n"]
    feed = ListFeed(values)
    tables = opened(place, feed)
    tables.commit(place.batch(feed, 1, most=1))
    with monkeypatch.context() as patch:
        killed_at(patch, table, moment)
        with pytest.raises(Killed):
            tables.commit(place.batch(feed, 2, most=4))
    again = ListFeed(values, most=1)
    done = place.stream(again, "two").run(ALL)
    assert place.ids() == ["r1", "r2", "r3"]
    assert place.letter_places() == [f"list://rides/0#{n}" for n in (1, 3, 5)]
    first = 4 if (table, moment) == ("events", "after") else 0
    assert done.counts.rows == 5 - first


def test_letters_without_events_are_not_written_again_in_however_small_batches_they_are_read(place, monkeypatch):
    values = [b"n0", ride(1), b"n2", ride(3), b"n4"]
    feed = ListFeed(values)
    tables = opened(place, feed)
    with monkeypatch.context() as patch:
        killed_at(patch, "events", "before")
        with pytest.raises(Killed):
            tables.commit(place.batch(feed, 1))
    monkeypatch.setattr(stream_loop, "MOST_ROWS", 2)
    feed = ListFeed(values)
    tables = opened(place, feed, "two")
    assert tables.ahead == {f"list://rides/0#{n}" for n in (0, 2, 4)}
    counts = tables.commit(place.batch(feed, 1, most=2))
    assert (counts.rows, counts.accepted, counts.dead_letters) == (2, 1, 1)
    done = place.stream(ListFeed(values), "three").run(ALL)
    assert (done.counts.rows, done.counts.accepted, done.counts.dead_letters) == (3, 1, 2)
    assert place.events.generation("stream/rides") == 3, "no batch was larger than it may be"
    assert place.letter_places() == [f"list://rides/0#{n}" for n in (0, 2, 4)]


def test_a_row_whose_letter_is_there_is_no_event_under_a_contract_that_would_accept_it(place, monkeypatch, tmp_path):
    strict = Contract("rides", "1", (*FIELDS, Field("fare", pa.float64(), required=True)), ("ride",), "at")
    loose = Contract("rides", "2", (*FIELDS, Field("fare", pa.float64(), required=False)), ("ride",), "at")
    feed = ListFeed([ride(1), ride(2)])
    first = Place(tmp_path, strict)
    tables = opened(first, feed)
    with monkeypatch.context() as patch:
        killed_at(patch, "events", "before")
        with pytest.raises(Killed):
            tables.commit(first.batch(feed, 1))
    second = Place(tmp_path, loose)
    feed = ListFeed([ride(1), ride(2), ride(3)])
    counts = second.stream(feed, "two").run(ALL).counts
    assert second.ids() == ["r3"]
    assert second.letter_places() == ["list://rides/0#0", "list://rides/0#1"]
    assert (counts.rows, counts.accepted, counts.dead_letters, counts.duplicates) == (3, 1, 2, 0)


def test_of_two_streams_one_goes_on_and_the_other_is_told_who_won(place):
    values = [ride(n) if n % 3 else b"nope" for n in range(9)]
    one, two = ListFeed(values), ListFeed(values)
    first, second = opened(place, one, "first@here"), opened(place, two, "second@here")
    first.commit(place.batch(one, 1, most=3))
    with pytest.raises(GenerationMoved, match="expected 0, found 1 of stream/rides: first@here streams `rides` too"):
        second.commit(place.batch(two, 1, most=6))
    first.commit(place.batch(one, 2))
    assert place.ids() == sorted(f"r{n}" for n in range(9) if n % 3)
    assert len(place.letter_places()) == 3


def test_letters_of_a_stream_that_lost_its_events_are_not_written_again(place, monkeypatch):
    values = [ride(0), b"n1", ride(2), b"n3", ride(4), b"n5"]
    one, two = ListFeed(values), ListFeed(values)
    first, second = opened(place, one, "first"), opened(place, two, "second")
    commit = LakeTable.commit

    def overtaken(self, files, **options):
        if self.name.startswith("events") and options["metadata"]["by"] == "second":
            first.commit(place.batch(one, 1, most=1))  # no letter in it, so it does not meet the other's
        return commit(self, files, **options)

    with monkeypatch.context() as patch:
        patch.setattr(LakeTable, "commit", overtaken)
        with pytest.raises(GenerationMoved, match="first streams `rides` too"):
            second.commit(place.batch(two, 1, most=4))
    for generation, most in ((2, 1), (3, 1), (4, 9)):
        first.commit(place.batch(one, generation, most=most))
    assert place.ids() == ["r0", "r2", "r4"]
    assert place.letter_places() == [f"list://rides/0#{n}" for n in (1, 3, 5)]


def test_letters_whose_events_another_stream_did_not_cover_are_found_after_the_next_letters_too(place, monkeypatch):
    values = [ride(0), b"n1", ride(2), b"n3", ride(4), b"n5"]
    one, two = ListFeed(values), ListFeed(values)
    first, second = opened(place, one, "first"), opened(place, two, "second")
    with monkeypatch.context() as patch:
        killed_at(patch, "events", "before")
        with pytest.raises(Killed):
            second.commit(place.batch(two, 1, most=4))  # the letters of n1 and n3
    first.commit(place.batch(one, 1, most=1))  # no letter in it, so it does not meet the other's
    with monkeypatch.context() as patch:
        killed_at(patch, "events", "before")
        with pytest.raises(Killed):
            first.commit(place.batch(one, 2))  # the letter of n5
    place.stream(ListFeed(values), "third").run(ALL)
    assert place.ids() == ["r0", "r2", "r4"]
    assert place.letter_places() == [f"list://rides/0#{n}" for n in (1, 3, 5)]


def test_letters_of_two_partitions_never_go_back_in_one_of_them(place, monkeypatch):
    """One stream was far in partition 0, the other less far there and further in partition 1."""
    values = [b"n0", b"n1", ride(2)]

    def feeds():
        return [ListFeed(values, partition=p) for p in (0, 1)]

    def batch(feeds, most):
        polled = [f.poll(m, 0.0) for f, m in zip(feeds, most, strict=True)]
        return read_batch([(feeds[0].codec, Messages.joined(polled))], Arrival("rides", place.contract, 1, NOW))

    def tables(feeds, who):
        made = place.tables(who)
        positions = made.open([name for f in feeds for name in f.names()])
        for feed in feeds:
            feed.seek(positions)
        return made

    one, two = feeds(), feeds()
    first, second = tables(one, "first"), tables(two, "second")
    with monkeypatch.context() as patch:
        killed_at(patch, "events", "before")
        with pytest.raises(Killed):
            second.commit(batch(two, (2, 0)))
    first.commit(batch(one, (1, 1)))
    numbers = place.letters.standing(["stream/rides/rides/0", "stream/rides/rides/1"]).numbers
    assert (numbers["stream/rides/rides/0"], numbers["stream/rides/rides/1"]) == (2, 1)
    three = feeds()
    third = tables(three, "third")
    third.commit(batch(three, (9, 9)))
    assert place.letter_places() == [f"list://rides/{p}#{n}" for p in (0, 1) for n in (0, 1)]
    assert place.ids() == ["r2"]


@pytest.mark.parametrize("table", ["dead_letters", "events"])
def test_a_commit_whose_answer_was_lost_is_not_made_twice(place, monkeypatch, table):
    feed = ListFeed([ride(1), b"nope", ride(1)])
    tables = opened(place, feed)
    batch = place.batch(feed, 1)
    commit = LakeTable.commit

    def lost(self, files, **options):
        version = commit(self, files, **options)
        if self.name.startswith(table):
            raise Unavailable("the answer is lost", system="s3", address="")
        return version

    with monkeypatch.context() as patch:
        patch.setattr(LakeTable, "commit", lost)
        with pytest.raises(Unavailable):
            tables.commit(batch)
    counts = tables.commit(batch)
    assert (counts.accepted, counts.dead_letters, counts.duplicates) == (1, 1, 1)
    assert place.ids() == ["r1"]
    assert len(place.letter_places()) == 1
    assert tables.commit(place.batch(ListFeed([ride(2)]), 2)).accepted == 1


def by_batch_ingest(place, ids, generation, removed=(), turn=None):
    """Commit rides as another writer of the table would."""
    table = place.events
    batch = place.batch(ListFeed([ride(i) for i in ids]), generation)
    file = table.write(batch.split.accepted, (("event_date", "2020-01-01"),))
    table.commit([file], app_id="ingest/rides", generation=generation, removed=removed, turn=turn)


def test_events_that_another_writer_added_meanwhile_are_duplicates(place, monkeypatch):
    feed = ListFeed([ride(1), ride(2), ride(3)])
    tables = opened(place, feed)
    tables.commit(place.batch(feed, 1, most=1))
    by_batch_ingest(place, [2], 1)
    batch = place.batch(feed, 2)
    commit = LakeTable.commit

    def between(self, files, **options):
        if options["app_id"] == "stream/rides" and place.events.generation("ingest/rides") == 1:
            by_batch_ingest(place, [3], 2, turn=self.turn())
        return commit(self, files, **options)

    monkeypatch.setattr(LakeTable, "commit", between)
    counts = tables.commit(batch)
    assert (counts.accepted, counts.duplicates) == (0, 2)
    assert place.ids() == ["r1", "r2", "r3"]


def test_an_event_whose_file_was_taken_away_is_new_again(place):
    feed = ListFeed([ride(1), ride(1)])
    tables = opened(place, feed)
    tables.commit(place.batch(feed, 1, most=1))
    table = place.events
    table.commit([], app_id="retention", generation=1, removed=table.files(), turn=table.turn())
    assert tables.commit(place.batch(feed, 2)).accepted == 1
    assert place.ids() == ["r1"]


def test_many_small_files_become_one_with_the_same_rows_and_the_stream_goes_on(place):
    feed = ListFeed([ride(n, day=1 + n % 2) for n in range(40)])
    tables = opened(place, feed)
    for generation in range(1, 11):
        tables.commit(place.batch(feed, generation, most=4))
    before = place.ids()
    assert len(place.events.files()) == 20
    assert tables.compact(wait=True) == 20
    assert (len(place.events.files()), place.ids()) == (2, before)
    assert tables.compact(wait=True) == 0
    more = ListFeed([*feed.values[:1], ride(40)])
    assert tables.commit(place.batch(more, 11)).accepted == 1
    assert place.tables("two").open(feed.names()) == {NAME: 2}


def test_a_compaction_gives_way_to_a_writer_that_came_between(place, monkeypatch):
    feed = ListFeed([ride(n) for n in range(10)])
    tables = opened(place, feed)
    for generation in range(1, 11):
        tables.commit(place.batch(feed, generation, most=1))
    commit = LakeTable.commit

    def between(self, files, **options):
        if options["app_id"] == "compact/rides":
            monkeypatch.setattr(LakeTable, "commit", commit)
            by_batch_ingest(place, [99], 1, turn=self.turn())
        return commit(self, files, **options)

    monkeypatch.setattr(LakeTable, "commit", between)
    assert tables.compact(wait=True) == 0
    assert len(place.ids()) == 11
    assert tables.compact(wait=True) == 10
    assert len(place.ids()) == 11


def test_a_stream_commits_while_its_files_are_merged(place, monkeypatch):
    feed = ListFeed([ride(n) for n in range(12)])
    tables = opened(place, feed)
    for generation in range(1, 11):
        tables.commit(place.batch(feed, generation, most=1))
    write, goes_on = LakeTable.write, Event()

    def when_allowed(self, rows, *args, **options):
        if current_thread() is not main_thread():
            assert goes_on.wait(30)
        return write(self, rows, *args, **options)

    monkeypatch.setattr(LakeTable, "write", when_allowed)
    assert tables.compact() == 0
    tables.commit(place.batch(feed, 11, most=1))
    assert (tables.compact(), len(place.ids())) == (0, 11)
    goes_on.set()
    assert tables.compact(wait=True) == 10
    tables.commit(place.batch(feed, 12, most=1))
    assert (len(place.events.files()), len(place.ids())) == (3, 12)


def test_a_merge_is_given_up_when_a_file_of_it_has_left_the_table(place):
    feed = ListFeed([ride(n) for n in range(10)])
    tables = opened(place, feed)
    for generation in range(1, 11):
        tables.commit(place.batch(feed, generation, most=1))
    tables.compact()
    table = place.events
    table.commit([], app_id="retention", generation=1, removed=table.files()[:1], turn=table.turn())
    assert tables.compact(wait=True) == 0
    assert len(place.ids()) == 9


def test_known_at_is_when_a_batch_was_read(place):
    feed = ListFeed([ride(1)])
    opened(place, feed).commit(place.batch(feed, 1))
    assert place.events.read(["known_at"])["known_at"].to_pylist() == [NOW]
