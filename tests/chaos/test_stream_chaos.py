"""Whatever dies, hangs up or happens twice: each message that a broker took is in the lake once, or refused once.

A part of what `make chaos` does for an hour.
"""

from collections import ChainMap, Counter

import pytest
from stream_lake import BATCH, MERGED, StreamLake
from stream_nemesis import StreamNemesis

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def told(nemesis, wrong):
    return "\n".join([*wrong, "", *nemesis.story])


def test_killed_at_every_boundary_no_message_is_lost_and_none_is_twice(place):
    nemesis = StreamNemesis(place, 1, Counter())
    nemesis.stop_everywhere(landings=0)
    wrong = nemesis.end()
    assert not wrong, told(nemesis, wrong)
    assert nemesis.totals["drivers killed"] == 6


@pytest.mark.parametrize(
    ("seed", "kinds"),
    [(11, ["broker", "store", "faults and clock", "moment"]), (12, ["two", "held", "beside objects", "crowd"])],
)
def test_under_seeded_attacks_no_message_is_lost_and_none_is_twice(place, seed, kinds):
    nemesis = StreamNemesis(place, seed, Counter())
    for kind in kinds:
        nemesis.attack(1, [kind])
    wrong = nemesis.end()
    assert not wrong, told(nemesis, wrong)


def test_messages_that_the_broker_deleted_before_they_were_read_are_on_record_and_the_stream_goes_on(place):
    lake = StreamLake(place, "deleted", 51)
    read, more = lake.messages.made(20), lake.messages.made(40)
    lake.messages.send(read)
    assert lake.stream().code == 0
    for sent in more:
        lake.messages.send([sent])  # a batch each, of which the broker keeps the last of each partition
    place.store.forget("deleted")
    oldest = dict(sorted(place.broker.kept("deleted")))
    stands = Counter(sent.partition for sent in read)
    assert all(0 < stands[p] < oldest[p] for p in range(3)), "nothing was deleted that was not read"
    assert lake.stream().code == 0
    assert {(d["what"], d["why"]) for d in lake.see().decisions} == {
        ("lost", f"messages #{stands[p]} to #{oldest[p] - 1} of kafka://deleted/{p} were deleted before they were read")
        for p in oldest
    }
    numbers = ChainMap(*(c.numbers for c in reversed(lake.log("events/orders"))))
    assert {p: numbers[f"stream/orders/deleted/{p}"] - 1 for p in oldest} == oldest
    assert lake.stream().code == 0
    assert len(lake.see().decisions) == 3


BROKEN = {
    "positions_before_rows": ("before commit events/orders: stream/orders 1", "the broker has and the lake has not"),
    "forgets_the_letters": ("after commit dead_letters: stream/orders 1", "poison messages dead twice"),
    "merges_a_file_away": ("", "the broker has and the lake has not"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_the_checker_finds_a_deliberate_break_of_a_stream(place, broken):
    stop_at, sentence = BROKEN[broken]
    lake = StreamLake(place, broken.replace("_", "-"), 42)
    lake.ingest()
    # Enough for some batches and a merge of files; events of the object are repeated.
    lake.messages.send(lake.messages.made(BATCH * MERGED + 1))
    end = lake.stream(breaks=(broken,), stop_at=stop_at)
    assert end.stopped == bool(stop_at)
    wrong, _ = lake.judge((broken,), runs=2)
    assert any(sentence in w for w in wrong), wrong
