from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from raypipe.decision import follow, verify
from raypipe.errors import GenerationMoved
from raypipe.ports import Backends, ModelVersion
from raypipe.release import current, roll_out
from raypipe.rollout.decide import Observed
from raypipe.rollout.spec import ReleaseSpec
from raypipe.rollout.state import Phase, Served

PIPELINE = SimpleNamespace(spec=SimpleNamespace(name="m", release=ReleaseSpec(deadline="5m")))
ONE, TWO = ModelVersion("m", "1", "aa"), ModelVersion("m", "2", "bb")


class Ledger:
    """Streams in memory that refuse a generation which does not follow, as the table does."""

    def __init__(self):
        self.decisions = {}
        self.before_record = lambda: None

    def stream(self, name):
        return tuple(self.decisions.get(name, ()))

    def record(self, previous, *, stream, **rest):
        self.before_record()
        decision = follow(previous, stream=stream, **rest)
        past = self.decisions.setdefault(stream, [])
        if decision.generation != len(past) + 1:
            raise GenerationMoved(f"generation moved: expected {decision.generation - 1}, found {len(past)}")
        past.append(decision)
        return decision


@dataclass
class World:
    """One endpoint with two replicas that do what they are told, unless a test says otherwise."""

    ledger: Ledger = field(default_factory=Ledger)
    orders: list = field(default_factory=list)
    champion: str | None = None
    seconds: int = 0
    smoke: bool = True
    refused: str | None = None
    deaf: bool = False

    def apply(self, pipeline, target):
        self.orders.append(target)

    def observe(self, pipeline, target, smoke):
        count = 0 if self.deaf else 2
        answered = self.smoke if smoke and count else None
        return Observed(2, prepared=count, serving=count, refused=self.refused, smoke=answered, smoke_message="seen")

    def pause(self):
        self.seconds += 1

    def set_champion(self, name, version):
        self.champion = version

    def now(self):
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    @property
    def backends(self):
        return Backends(None, None, None, None, registry=self, traffic=self, decisions=self.ledger, now=self.now)

    @property
    def words(self):
        return [d.what for d in self.ledger.stream("release/m")]


@pytest.fixture
def world():
    return World()


def test_a_first_candidate_is_prepared_then_adopted_then_champion(world):
    assert roll_out(PIPELINE, ONE, world.backends).phase is Phase.SUCCEEDED
    assert world.words == ["plan", "adopt", "succeed"]
    assert [o.champion for o in world.orders] == [None, Served("1", "aa"), Served("1", "aa")]
    assert world.champion == "1"
    verify(world.ledger.stream("release/m"))


def test_a_second_candidate_takes_over_and_the_first_stays_loaded(world):
    roll_out(PIPELINE, ONE, world.backends)
    roll_out(PIPELINE, TWO, world.backends)
    assert world.champion == "2"
    assert world.orders[-1].loaded == (Served("2", "bb"), Served("1", "aa"))


def test_releasing_the_champion_again_orders_its_traffic_and_decides_nothing(world):
    roll_out(PIPELINE, ONE, world.backends)
    assert roll_out(PIPELINE, ONE, world.backends).phase is Phase.SUCCEEDED
    assert world.words == ["plan", "adopt", "succeed"]
    assert world.orders[-1] == world.orders[-2]


def test_an_abort_whose_traffic_was_never_ordered_is_ordered_by_the_next_run(world):
    roll_out(PIPELINE, ONE, world.backends)
    world.smoke = False
    roll_out(PIPELINE, TWO, world.backends)
    world.orders.clear()
    world.smoke = True
    roll_out(PIPELINE, TWO, world.backends)
    assert (world.orders[0].generation, world.orders[0].loaded) == (5, (Served("1", "aa"),))


@pytest.mark.parametrize("fault", [{"smoke": False}, {"refused": "digest differs"}, {"deaf": True}])
def test_a_candidate_that_cannot_serve_is_aborted_and_the_champion_stays(world, fault):
    roll_out(PIPELINE, ONE, world.backends)
    for name, value in fault.items():
        setattr(world, name, value)
    assert roll_out(PIPELINE, TWO, world.backends).phase is Phase.ABORTED
    assert world.words[-2:] == ["plan", "abort"]
    assert all(o.champion == Served("1", "aa") for o in world.orders[-2:])
    assert world.champion == "1"


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("call", range(1, 12))
def test_killed_at_any_call_and_run_again_the_end_is_the_same(world, call):
    roll_out(PIPELINE, ONE, world.backends)
    calls = 0

    def dying(method):
        def wrapped(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == call:
                raise Killed
            return method(*args, **kwargs)

        return wrapped

    backends = world.backends
    mortal = SimpleNamespace(
        decisions=SimpleNamespace(record=dying(world.ledger.record), stream=world.ledger.stream),
        traffic=SimpleNamespace(apply=dying(world.apply), observe=dying(world.observe), pause=world.pause),
        registry=SimpleNamespace(set_champion=dying(world.set_champion)),
        now=world.now,
    )
    try:
        roll_out(PIPELINE, TWO, mortal)
    except Killed:
        assert current("m", backends) is not None
    assert roll_out(PIPELINE, TWO, backends).phase is Phase.SUCCEEDED
    assert world.words == ["plan", "adopt", "succeed"] * 2
    assert world.champion == "2"


def test_of_two_that_release_at_once_the_second_is_told_that_the_generation_moved(world):
    def the_other_comes_first():
        world.ledger.before_record = lambda: None
        roll_out(PIPELINE, TWO, world.backends)

    world.ledger.before_record = the_other_comes_first
    with pytest.raises(GenerationMoved, match="expected 0, found 3"):
        roll_out(PIPELINE, ONE, world.backends)
    assert world.champion == "2"
