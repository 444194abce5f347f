"""The loop: batches by what waits, patience with what is away, and a halt that says so and can be answered."""

from __future__ import annotations

import json
import time
from threading import Event

import pytest
from streams import NOW, ListFeed, Place, ride

from raypipe.adapters import stream_loop
from raypipe.adapters.lake.decisions import Decisions
from raypipe.adapters.stream_loop import Until
from raypipe.adapters.stream_record import StreamRecord
from raypipe.contracts.gate import GateEvidence
from raypipe.contracts.halt import Resolution
from raypipe.errors import ConfigError, Unavailable
from raypipe.verdict import Status, Verdict

ALL = Until(caught_up=True)
AWAY = Unavailable("the store is away", system="s3", address="")


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def accept(generation):
    return Resolution("rides", generation, True, "somebody", "known fault")


def test_everything_that_waits_is_one_batch_and_no_batch_is_larger_than_it_may_be(place, monkeypatch):
    monkeypatch.setattr(stream_loop, "MOST_ROWS", 30)
    done = place.stream(ListFeed([ride(n) for n in range(70)], most=10)).run(ALL)
    assert done.counts.accepted == 70
    assert place.events.generation("stream/rides") == 3


def test_a_stream_that_is_run_again_with_nothing_new_commits_nothing(place):
    feed = ListFeed([ride(1)])
    place.stream(feed).run(ALL)
    version = place.events.snapshot().version
    assert place.stream(feed).run(ALL).counts.rows == 0
    assert place.events.snapshot().version == version


def test_what_is_away_for_a_while_is_waited_for(place, monkeypatch):
    waits = []
    monkeypatch.setattr(Event, "wait", lambda self, s: waits.append(s))
    feed = ListFeed([ride(1)])
    feed.failures = [AWAY] * 9
    deadline = time.monotonic() + 60
    stop = Event()
    feed_poll = feed.poll

    def last(most, wait_s):
        found = feed_poll(most, wait_s)
        if feed.exhausted and not feed.failures:
            stop.set()
        return found

    monkeypatch.setattr(feed, "poll", last)
    assert place.stream(feed, stop=stop).run(Until(deadline=deadline)).counts.accepted == 1
    assert len(waits) == 9
    assert all(0.25 <= wait <= 30 for wait in waits)
    assert max(waits) > 8


def test_with_once_what_stays_away_is_an_error(place, monkeypatch):
    monkeypatch.setattr(Event, "wait", lambda self, s: None)
    feed = ListFeed([ride(1)])
    feed.failures = [AWAY] * 9
    with pytest.raises(Unavailable, match="the store is away"):
        place.stream(feed).run(ALL)
    assert len(feed.failures) == 3


def test_told_to_stop_a_stream_commits_what_it_has_and_ends(place):
    stop = Event()
    feed = ListFeed([ride(n) for n in range(50)], most=5)
    poll = feed.poll

    def told(most, wait_s):
        stop.set()
        return poll(most, wait_s)

    feed.poll = told
    assert place.stream(feed, stop=stop).run(Until()).counts.accepted == 5
    assert place.stream(ListFeed(feed.values)).run(ALL).counts.accepted == 45


def test_too_many_dead_letters_halt_the_stream_before_its_batch_and_are_on_record(place):
    values = [ride(1), *[b"nope"] * 60]
    done = place.stream(ListFeed(values)).run(ALL)
    assert done.halted is not None
    assert "60 of the newest 61 messages" in done.halted.sentence()
    assert (place.ids(), place.letter_places()) == ([], [])
    (decision,) = Decisions(place.store).stream("stream/rides")
    assert (decision.what, decision.at) == ("halt", NOW)
    assert json.loads(decision.evidence)["generation"] == 1


def test_run_again_a_halted_stream_judges_the_same_messages_anew(place):
    values = [ride(1), *[b"nope"] * 60]
    place.stream(ListFeed(values)).run(ALL)
    assert place.stream(ListFeed(values)).run(ALL).halted is not None
    more = [*values, *(ride(n) for n in range(2, 1_200))]
    assert place.stream(ListFeed(more, most=2_000)).run(ALL).halted is None
    assert len(place.letter_places()) == 60


def test_a_person_lets_the_messages_in_at_which_it_halted_and_those_after_them_are_judged(place):
    values = [ride(1), *[b"nope"] * 60]
    place.stream(ListFeed(values)).run(ALL)
    done = place.stream(ListFeed(values)).run(ALL, accept(1))
    assert done.halted is None
    assert len(place.letter_places()) == 60
    assert [d.what for d in Decisions(place.store).stream("stream/rides")] == ["halt", "accept_halted"]
    assert place.stream(ListFeed([*values, *[b"no"] * 60])).run(ALL).halted is not None


def test_who_was_killed_after_letting_in_does_not_have_to_say_it_again(place):
    values = [ride(1), *[b"nope"] * 60]
    place.stream(ListFeed(values)).run(ALL)
    empty = ListFeed([])
    place.stream(empty).run(ALL, accept(1))
    assert place.stream(ListFeed(values)).run(ALL).halted is None


def test_a_generation_that_is_not_halted_cannot_be_let_in(place):
    with pytest.raises(ConfigError, match="not halted at generation 7: the next of its stream is 1"):
        place.stream(ListFeed([])).run(ALL, accept(7))


def test_what_was_committed_last_is_said_though_nothing_comes_after_it(place, monkeypatch):
    monkeypatch.setattr(stream_loop, "MOST_ROWS", 1)
    monkeypatch.setattr(stream_loop, "_SAY_S", 2.0)
    stop, said = Event(), []
    feed = ListFeed([ride(n) for n in range(3)])
    poll, given_up = feed.poll, time.monotonic() + 30

    def told(stage, message, **fields):
        if "reads" in message:
            said.append((fields["rows"], stop.is_set()))
            if fields["rows"] == 3:
                stop.set()

    def polled(most, wait_s):
        if time.monotonic() > given_up:
            stop.set()
        return poll(most, wait_s)

    monkeypatch.setattr(stream_loop, "event", told)
    monkeypatch.setattr(feed, "poll", polled)
    place.stream(feed, stop=stop).run(Until())
    assert said == [(1, False), (3, False)]


def test_a_loss_is_on_record_once_also_where_a_stream_that_died_meanwhile_finds_it_again(place):
    feed = ListFeed([ride(1)])
    record = StreamRecord(Decisions(place.store), "rides", "digest", lambda: NOW, "one")
    for said in ("#0 to #3 were deleted", "#0 to #3 were deleted", "#4 to #7 were deleted"):
        record.lost(1, said)
    assert [d.why for d in Decisions(place.store).stream("stream/rides")] == [
        "#0 to #3 were deleted",
        "#4 to #7 were deleted",
    ]
    assert place.stream(feed).run(ALL).counts.accepted == 1


def test_what_a_person_let_in_stays_let_in_though_messages_were_lost_after_it(place):
    record = StreamRecord(Decisions(place.store), "rides", "digest", lambda: NOW, "one")
    record.halted(1, GateEvidence(rows=600, dead_letters=600), Verdict(Status.HALTED, ()))
    record.lost(1, "#0 to #3 were deleted")
    assert record.let_in(1, accept(1)) == 600
    record.lost(1, "#4 to #7 were deleted")
    assert record.let_in(1, None) == 600, "the process died and comes back without --accept"
