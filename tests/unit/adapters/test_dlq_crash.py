"""A replay or a drop that is killed, repeated, or runs beside another changes nothing twice and loses nothing."""

import os
import signal
import subprocess
import sys
from collections import Counter

import pytest
from dlq_world import World, row

from raypipe import boundary as boundaries
from raypipe.adapters.lake.letters import Fate

EFFECTS = ("commit events/trips: dlq/trips 1", "commit letter_fates: dlq/trips 1", "commit decisions: dlq/trips 1")
POINTS = [*(f"before {e}" for e in EFFECTS), f"after {EFFECTS[-1]}"]
DROP_POINTS = [p for p in POINTS if "events" not in p]


class Killed(BaseException):
    """Stands for SIGKILL: nothing that catches errors catches it."""


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.land("a", row("t1"), row("t2", minutes=20.0), row("t3", minutes=99.0), row("t1", minutes=21.0))
    world.land("b", row("t4", minutes=20.0, day=2), row("t2", minutes=22.0))
    world.ingest()
    world.promise(maximum=50)
    return world


@pytest.fixture
def at(monkeypatch):
    """Let something happen once, the first time that a point is reached."""

    def arrange(point, act):
        reach, waiting = boundaries._reach, [act]

        def reached(found):
            reach(found)
            if found == point and waiting:
                waiting.pop()()

        monkeypatch.setattr(boundaries, "_reach", reached)
        return waiting

    return arrange


def killed():
    raise Killed


def check(world, replayed=True):
    """Every record is in one class, every event is there once, and each commit of fates has one decision."""
    letters = world.letters()
    events = Counter(e["event_id"] for e in world.events())
    assert set(events.values()) == {1}
    places = {(e["source_position"], e["generation"]) for e in world.events()}
    for letter in letters.iter_rows(named=True):
        assert (letter["fate"] == Fate.ACCEPTED) == ((letter["source_position"], letter["generation"]) in places)
    recorded = [e["fates"] for _, _, e in world.decisions()]
    assert recorded == list(range(1, len(recorded) + 1))
    if replayed:
        assert world.trips() == [("t1", 5.0), ("t2", 20.0), ("t4", 20.0)]
        assert letters["fate"].to_list() == ["accepted", None, "duplicate", "accepted", "duplicate"]


@pytest.mark.parametrize("point", POINTS)
def test_a_replay_that_was_killed_is_finished_by_the_next(world, at, point):
    at(point, killed)
    with pytest.raises(Killed):
        world.replay()
    world.replay()
    check(world)
    assert world.decisions() == [("replay", "ann", {"fates": 1, "replay": 1, "accepted": 2, "duplicate": 2})]
    before = world.files()
    world.replay()
    assert world.files() == before


@pytest.mark.parametrize("point", POINTS)
def test_after_a_killed_replay_only_what_is_no_event_can_be_dropped(world, at, point):
    at(point, killed)
    with pytest.raises(Killed):
        world.replay()
    world.drop(sources=("trips",))
    check(world, replayed=False)
    assert "open" not in world.statuses()
    assert world.statuses().count("replayed") == {0: 0, 1: 2}.get(POINTS.index(point), 4)


@pytest.mark.parametrize("point", DROP_POINTS)
def test_a_drop_that_was_killed_is_finished_by_the_next(world, at, point):
    at(point, killed)
    with pytest.raises(Killed):
        world.drop(sources=("trips",))
    world.drop(sources=("trips",))
    assert world.statuses() == ["dropped"] * 5
    world.queue.unmask(world.letters()["letter_id"][0], "trips", who="eve")
    assert [(what, e.get("dropped")) for what, _, e in world.decisions()] == [("drop", 5), ("unmask", None)]


@pytest.mark.parametrize("point", POINTS)
def test_two_replays_at_once_change_what_one_does(world, at, point):
    waiting = at(point, world.replay)
    world.replay()
    assert not waiting
    check(world)
    assert sum(e["accepted"] for _, _, e in world.decisions()) == 2


@pytest.mark.parametrize("point", POINTS)
def test_a_letter_that_is_dropped_and_replayed_at_once_is_what_its_event_says(world, at, point):
    waiting = at(point, lambda: world.drop(sources=("trips",)))
    world.replay()
    assert not waiting
    check(world, replayed=False)
    world.replay()
    assert world.trips() == [("t1", 5.0), ("t2", 20.0), ("t4", 20.0)]


def test_whoever_finds_a_commit_without_its_decision_records_it_first(world, at):
    letter = world.letters()["letter_id"][1]

    def drop_that_is_killed():
        at("before commit decisions: dlq/trips 2", killed)
        with pytest.raises(Killed):
            world.drop(letter)

    at("before commit letter_fates: dlq/trips 1", drop_that_is_killed)
    world.replay()
    said = [(what, who, e["fates"]) for what, who, e in world.decisions()]
    assert said == [("replay", "ann", 1), ("drop", "bob", 2), ("replay", "ann", 3)]


@pytest.mark.parametrize("point", POINTS)
def test_an_ingest_of_the_same_events_beside_a_replay_makes_none_twice(world, at, point):
    world.land("c", row("t2", minutes=7.0), row("t5"), row("t4", minutes=8.0))
    waiting = at(point, world.ingest)
    world.replay()
    assert not waiting
    check(world, replayed=False)
    assert [t for t, _ in world.trips()] == ["t1", "t2", "t4", "t5"]


@pytest.mark.parametrize(
    "point", ["before commit dead_letters: ingest/trips 2", "before commit events/trips: ingest/trips 2"]
)
def test_a_replay_beside_an_ingest_of_the_same_events_makes_none_twice(world, at, point):
    world.land("c", row("t2", minutes=7.0), row("t5"), row("t4", minutes=99.0))
    waiting = at(point, world.replay)
    counts = world.ingest()
    assert not waiting
    assert (counts.rows, counts.accepted, counts.dead_letters, counts.duplicates) == (3, 1, 1, 1)
    assert Counter(t for t, _ in world.trips()) == Counter(["t1", "t2", "t4", "t5"])


def test_a_letter_that_a_killed_ingest_left_stays_one_under_a_mended_contract_until_it_is_replayed(tmp_path, at):
    world = World(tmp_path)
    world.land("a", row("t2", minutes=20.0))
    at("before commit events/trips: ingest/trips 1", killed)
    with pytest.raises(Killed):
        world.ingest()
    world.promise(maximum=50)
    world.ingest()
    assert (world.events(), world.statuses()) == ([], ["open"])
    world.replay()
    assert [t for t, _ in world.trips()] == ["t2"]
    assert world.statuses() == ["replayed"]


SCRIPT = """
import sys
from pathlib import Path
from dlq_world import World
World(Path(sys.argv[1]), fresh=False).replay()
"""


def test_a_replay_that_is_really_killed_is_finished_by_the_next(world):
    variables = {"RAYPIPE_STOP_AT": POINTS[1], "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    child = subprocess.Popen([sys.executable, "-c", SCRIPT, str(world.root)], env={**os.environ, **variables})
    _, status = os.waitpid(child.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    child.send_signal(signal.SIGKILL)
    child.wait(10)
    world.replay()
    check(world)
