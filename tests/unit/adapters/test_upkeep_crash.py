"""Upkeep that is killed before or after any of its effects is finished by the next, with one decision for each commit."""

from __future__ import annotations

import json
from datetime import date

import pytest
from upkeep_lake import KEEP, Lake, ids

from raypipe import boundary as boundaries
from raypipe.adapters.upkeep_plan import LONGEST_RUN

EFFECTS = (
    "commit dead_letters: retention/rides 1",
    "commit decisions: retention/rides 1",
    "commit events/rides: retention/rides 1",
    "commit decisions: retention/rides 2",
    "commit events/rides: compact/rides 2",
    "commit dead_letters: compact/dead_letters 2",
    "commit decisions: vacuum 1",
    "vacuum events/rides",
    "vacuum dead_letters",
)
POINTS = [*(f"before {e}" for e in EFFECTS), f"after {EFFECTS[-1]}"]


class Killed(BaseException):
    """Stands for SIGKILL: nothing that catches errors catches it."""


@pytest.fixture
def lake(tmp_path):
    """Return a lake with something to do at every step."""
    lake = Lake(tmp_path)
    for _ in range(8):
        lake.add()
        lake.refuse(1, "others")
    lake.unneeded = lake.data(lake.events) | lake.data(lake.letters)
    lake.upkeep()
    lake.add(3, date(2020, 3, 1))
    lake.refuse(2)
    lake.pass_days((KEEP + LONGEST_RUN).days + 30)
    for _ in range(8):
        lake.add()
        lake.refuse()
    lake.stamp()
    return lake


@pytest.fixture
def reaching(monkeypatch):
    """Run an upkeep, and let something happen at each boundary that it reaches."""

    def run(lake, act):
        reach = boundaries._reach
        with monkeypatch.context() as patch:
            patch.setattr(boundaries, "_reach", lambda point: (reach(point), act(point)))
            try:
                lake.upkeep()
            finally:
                lake.stamp()

    return run


def check(lake):
    recorded = [json.loads(d.evidence) for d in lake.decisions("retention/rides")]
    facts = [(e["table"], e["commit"], e["rows"], e["files"]) for e in recorded]
    assert facts == [("dead_letters", 1, 2, 1), ("events/rides", 1, 11, 2)]
    assert (len(ids(lake.events)), len(ids(lake.letters))) == (8, 16)
    assert (len(lake.events.files()), len(lake.letters.files())) == (1, 1)
    assert not lake.unneeded & (lake.data(lake.events) | lake.data(lake.letters))
    assert lake.upkeep() == []


def test_these_are_all_of_its_effects(lake, reaching):
    reached = []
    reaching(lake, reached.append)
    assert reached == [f"{moment} {e}" for e in EFFECTS for moment in ("before", "after")]
    check(lake)


@pytest.mark.parametrize("point", POINTS)
def test_upkeep_that_was_killed_is_finished_by_the_next(lake, reaching, point):
    def kill(reached):
        if reached == point:
            raise Killed

    with pytest.raises(Killed):
        reaching(lake, kill)
    lake.upkeep()
    check(lake)
