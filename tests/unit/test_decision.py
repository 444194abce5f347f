from dataclasses import replace
from datetime import UTC, datetime

import pytest

from raypipe.decision import follow, verify
from raypipe.errors import RaypipeError

AT = datetime(2026, 1, 1, tzinfo=UTC)


def chain(length):
    decisions = []
    for n in range(length):
        previous = decisions[-1] if decisions else None
        decisions.append(
            follow(previous, stream="release/x", at=AT, who="release", what="plan", why="b", evidence={"n": n})
        )
    return decisions


def test_a_whole_chain_verifies():
    verify(chain(5))


@pytest.mark.parametrize("change", [{"why": "c"}, {"evidence": '{"n":9}'}, {"who": "someone"}, {"generation": 9}])
@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_change_anywhere_is_found_where_it_is(change, place):
    decisions = chain(5)
    decisions[place] = replace(decisions[place], **change)
    with pytest.raises(RaypipeError, match="altered at generation"):
        verify(decisions)


@pytest.mark.parametrize("place", [0, 2])
def test_a_removed_decision_is_found(place):
    decisions = chain(4)
    del decisions[place]
    with pytest.raises(RaypipeError, match="altered"):
        verify(decisions)
