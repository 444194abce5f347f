"""Whatever dies, hangs up or happens twice: each acknowledged row is in the lake once, or refused once, with its reason.

A part of what `make chaos` does for an hour.
"""

from collections import Counter

import pytest
from faults import Fault, Plan
from lake import Lake
from nemesis import Nemesis
from proxy import Moment

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def told(nemesis, wrong):
    return "\n".join([*wrong, "", *nemesis.story])


def test_killed_at_every_boundary_no_row_is_lost_and_none_is_twice(place):
    nemesis = Nemesis(place, 1, Counter())
    nemesis.stop_everywhere()
    wrong = nemesis.end()
    assert not wrong, told(nemesis, wrong)
    assert nemesis.totals["drivers killed"] == 20


@pytest.mark.parametrize("seed", [11, 12])
def test_under_seeded_attacks_no_row_is_lost_and_none_is_twice(place, seed):
    nemesis = Nemesis(place, seed, Counter())
    nemesis.attack(6)
    wrong = nemesis.end()
    assert not wrong, told(nemesis, wrong)


def test_a_run_that_another_goes_by_while_it_is_held_up_at_a_write_adds_nothing_twice(place):
    nemesis = Nemesis(place, 13, Counter())
    nemesis.attack(3, kinds=["held"])
    wrong = nemesis.end()
    assert not wrong, told(nemesis, wrong)
    assert nemesis.totals["runs held up"] > 0, told(nemesis, wrong)


def test_on_a_cluster_whose_workers_are_killed_no_row_is_lost_and_none_is_twice(place):
    nemesis = Nemesis(place, 21, Counter(), cluster=True)
    nemesis.attack(3, kinds=["workers", "faults and clock"])
    wrong = nemesis.end()
    assert not wrong, told(nemesis, wrong)
    assert nemesis.totals["workers killed"] > 0, told(nemesis, wrong)


def test_objects_written_over_between_manifest_and_reading_are_read_under_their_own_version(place):
    lake = Lake(place, "over", 31)
    lake.producer.land()
    # Of a new lake the first writes are the table of manifests, and two for each source's manifest.

    def write_over() -> None:
        for _ in range(6):
            lake.producer.write_over()

    place.proxy.follow(place.calm, {Moment("after", "write", 5): write_over})
    lake.ingest()
    assert not place.proxy.failed
    wrong, seen = lake.judge()
    assert not wrong, wrong
    assert any("was written over since it was listed" in x["reasons"][0] for x in seen.letters)


def test_a_run_that_reaches_the_store_twice_with_everything_is_not_told_that_another_came_first(place):
    lake = Lake(place, "repeated", 51)
    lake.producer.land()
    place.proxy.follow(Plan(tuple((number, Fault("repeat")) for number in range(1, 2000))))
    assert lake.ingest().said == {"orders": "QUARANTINED", "returns": "QUARANTINED"}
    place.proxy.follow(place.calm)
    wrong, _ = lake.judge()
    assert wrong == []


BROKEN = {
    "events_before_letters": ("after commit events/orders: ingest/orders 1", "not among the dead letters"),
    "no_transaction": ("", "2 commits of ingest/orders to dead_letters for 1 generations"),
    "lists_again": ("after commit manifests: ingest/returns 1", "letters twice"),
    "forgets_the_table": ("", "good rows accepted twice"),
    "leaves_a_file_out": ("", "good rows acknowledged and not in the lake"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_the_checker_finds_a_deliberate_break(place, broken):
    stop_at, sentence = BROKEN[broken]
    lake = Lake(place, broken.replace("_", "-"), 41)
    lake.producer.land()
    end = lake.ingest(breaks=(broken,), stop_at=stop_at)
    assert end.stopped == bool(stop_at)
    if broken != "no_transaction":
        lake.producer.land(rows=30)
    wrong, _ = lake.judge((broken,), runs=1 if broken == "no_transaction" else 3)
    assert any(sentence in w for w in wrong), wrong


def test_nothing_is_wrong_with_what_the_broken_drivers_would_have_ingested(place):
    lake = Lake(place, "unbroken", 41)
    lake.producer.land()
    lake.ingest()
    lake.producer.land(rows=30)
    wrong, _ = lake.judge()
    assert wrong == []
