import contextlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from raypipe.decision import follow, verify
from raypipe.errors import ConfigError, GenerationMoved
from raypipe.ports import ModelVersion
from raypipe.release import abort, current, resume, roll_out, undo
from raypipe.rollout.analysis import ErrorMeter
from raypipe.rollout.evidence import Evidence, StepEvidence
from raypipe.rollout.spec import ReleaseSpec
from raypipe.rollout.standing import Observed
from raypipe.rollout.state import Phase, Served

SPEC = ReleaseSpec(deadline="5m")
CANARY = ReleaseSpec.model_validate(
    {
        "steps": [
            {"shadow": {"min_pairs": 400, "deadline": "5m"}},
            {"weight": {"percent": 50, "min_requests": 400, "deadline": "5m"}},
            {"adopt": {}},
        ],
        "guardrails": [{"metric": "error_rate", "margin": 0.05}],
    }
)
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
    bad: bool = False
    meters: dict = field(default_factory=dict)
    meanwhile: object = staticmethod(lambda: None)

    def apply(self, name, target):
        if self.orders and self.orders[-1].generation > target.generation:
            raise GenerationMoved("too late", found=self.orders[-1].generation)
        self.orders.append(target)

    def observe(self, name, target, *, smoke, lease=True):
        count = 0 if self.deaf else 2
        answered = self.smoke if smoke and count else None
        return Observed(
            2,
            prepared=count,
            serving=count,
            refused=self.refused,
            smoke=answered,
            smoke_message="seen",
            challenger_expected=1,
            challenger_ready=1,
            evidence=self.requests(target),
        )

    def requests(self, target):
        """Return 100 more requests each time, of which a bad challenger fails all."""
        if target.challenger:
            meter = self.meters.setdefault(target.generation, ErrorMeter())
            for i in range(100):
                if target.challenger.shadow_percent:
                    meter.pair(challenger_failed=self.bad, champion_failed=False)
                elif target.challenger.percent:
                    ours = i % 2 == 0
                    meter.request(challenger=ours, share=0.5, failed=ours and self.bad)
        counted = {g: m.evidence() for g, m in self.meters.items()}
        return Evidence(
            {(g, "a"): StepEvidence(e, asked=e.challenger_requests, copied=e.pairs) for g, e in counted.items()}
        )

    def pause(self, seconds):
        self.seconds += 1
        self.meanwhile()

    def set_champion(self, name, version):
        self.champion = version

    def now(self):
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    @property
    def backends(self):
        return SimpleNamespace(registry=self, traffic=self, decisions=self.ledger, now=self.now)

    @property
    def words(self):
        return [d.what for d in self.ledger.stream("release/m")]


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def world():
    return World()


def test_a_first_candidate_is_prepared_then_adopted_then_champion(world):
    assert roll_out(SPEC, ONE, world.backends).phase is Phase.SUCCEEDED
    assert world.words == ["plan", "adopt", "succeed"]
    assert [o.champion for o in world.orders] == [None, Served("1", "aa"), Served("1", "aa")]
    assert world.champion == "1"
    verify(world.ledger.stream("release/m"))


def test_a_second_candidate_takes_over_and_the_first_stays_loaded(world):
    roll_out(SPEC, ONE, world.backends)
    roll_out(SPEC, TWO, world.backends)
    assert world.champion == "2"
    assert world.orders[-1].loaded == (Served("2", "bb"), Served("1", "aa"))


def test_releasing_the_champion_again_orders_its_traffic_and_decides_nothing(world):
    roll_out(SPEC, ONE, world.backends)
    assert roll_out(SPEC, ONE, world.backends).phase is Phase.SUCCEEDED
    assert world.words == ["plan", "adopt", "succeed"]
    assert world.orders[-1] == world.orders[-2]


def test_an_abort_whose_traffic_was_never_ordered_is_ordered_by_the_next_run(world):
    roll_out(SPEC, ONE, world.backends)
    world.smoke = False
    roll_out(SPEC, TWO, world.backends)
    world.orders.clear()
    assert roll_out(SPEC, TWO, world.backends).phase is Phase.ABORTED
    assert [(o.generation, o.loaded) for o in world.orders] == [(5, (Served("1", "aa"),))]


def test_an_aborted_candidate_is_released_again_only_when_somebody_asks_for_it(world):
    roll_out(SPEC, ONE, world.backends)
    world.smoke = False
    roll_out(SPEC, TWO, world.backends)
    world.smoke = True
    assert roll_out(SPEC, TWO, world.backends).phase is Phase.ABORTED
    assert roll_out(SPEC, TWO, world.backends, again=True).phase is Phase.SUCCEEDED


def test_a_good_challenger_goes_through_every_step(world):
    roll_out(SPEC, ONE, world.backends)
    assert roll_out(CANARY, TWO, world.backends).phase is Phase.SUCCEEDED
    assert world.words[3:] == ["plan", "shadow", "shift", "prepare", "adopt", "succeed"]
    shares = [(o.challenger.shadow_percent, o.challenger.percent) if o.challenger else None for o in world.orders[4:]]
    assert list(dict.fromkeys(shares)) == [(0, 0), (100, 0), (0, 50), None]


def test_a_bad_challenger_is_stopped_before_a_user_sees_it(world):
    roll_out(SPEC, ONE, world.backends)
    world.bad = True
    ended = roll_out(CANARY, TWO, world.backends)
    assert ended.phase is Phase.ABORTED
    assert "100.0 % (100 of 100)" in ended.reason
    assert all(o.challenger is None or o.challenger.percent == 0 for o in world.orders)
    assert world.champion == "1"


def test_an_abort_orders_the_traffic_before_it_is_recorded(world):
    roll_out(SPEC, ONE, world.backends)
    world.bad = True
    orders = []
    world.ledger.before_record = lambda: orders.append(world.orders[-1].generation)
    roll_out(CANARY, TWO, world.backends)
    assert orders[-1] == current("m", world.backends).generation


def test_an_abort_by_a_person_is_followed_by_the_flow(world):
    roll_out(SPEC, ONE, world.backends)

    def a_person_aborts():
        world.meanwhile = lambda: None
        abort("m", world.backends, who="ops", why="the shop is on fire")

    world.meanwhile = a_person_aborts
    ended = roll_out(CANARY, TWO, world.backends)
    assert (ended.phase, ended.reason) == (Phase.ABORTED, "the shop is on fire")
    assert world.ledger.stream("release/m")[-1].who == "ops"
    assert world.champion == "1"


def test_of_two_that_abort_at_once_the_second_is_told_who_was_first(world):
    roll_out(SPEC, ONE, world.backends)
    with contextlib.suppress(Killed):
        world.meanwhile = _die
        roll_out(CANARY, TWO, world.backends)

    def the_other_comes_first():
        world.ledger.before_record = lambda: None
        abort("m", world.backends, who="bob", why="too late")

    world.ledger.before_record = the_other_comes_first
    with pytest.raises(GenerationMoved, match=r"generation moved: expected \d, found \d .*\(abort by bob at"):
        abort("m", world.backends, who="ann", why="first")
    assert world.words[-1] == "abort"
    assert world.orders[-1].challenger is None


def test_an_undo_gives_traffic_and_the_registrys_name_back(world):
    roll_out(SPEC, ONE, world.backends)
    roll_out(SPEC, TWO, world.backends)
    assert undo("m", world.backends, who="ops", why="complaints").phase is Phase.UNDONE
    assert world.orders[-1].champion == Served("1", "aa")
    assert world.champion == "1"
    with pytest.raises(ConfigError, match="undone, not succeeded"):
        undo("m", world.backends, who="ops", why="again")


def test_a_paused_release_goes_on_when_a_person_resumes_it(world):
    pausing = ReleaseSpec.model_validate({"steps": [{"pause": {}}, {"adopt": {}}]})
    roll_out(SPEC, ONE, world.backends)
    assert roll_out(pausing, TWO, world.backends).phase is Phase.PAUSED
    assert roll_out(pausing, TWO, world.backends).phase is Phase.PAUSED
    assert resume("m", world.backends, who="ops", why="looks good").phase is Phase.SUCCEEDED


def _die():
    raise Killed


@pytest.mark.parametrize("fault", [{"smoke": False}, {"refused": "digest differs"}, {"deaf": True}])
def test_a_candidate_that_cannot_serve_is_aborted_and_the_champion_stays(world, fault):
    roll_out(SPEC, ONE, world.backends)
    for name, value in fault.items():
        setattr(world, name, value)
    assert roll_out(SPEC, TWO, world.backends).phase is Phase.ABORTED
    assert world.words[-2:] == ["plan", "abort"]
    assert all(o.champion == Served("1", "aa") for o in world.orders[-2:])
    assert world.champion == "1"


@pytest.mark.parametrize(
    ("spec", "bad", "words"),
    [
        (SPEC, False, ["plan", "adopt", "succeed"]),
        (CANARY, False, ["plan", "shadow", "shift", "prepare", "adopt", "succeed"]),
        (CANARY, True, ["plan", "shadow", "abort"]),
    ],
)
@pytest.mark.parametrize("call", range(1, 40))
def test_killed_at_any_call_and_run_again_the_end_is_the_same(world, call, spec, bad, words):
    roll_out(SPEC, ONE, world.backends)
    world.bad = bad
    calls = 0

    def dying(method):
        def wrapped(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == call:
                raise Killed
            return method(*args, **kwargs)

        return wrapped

    mortal = SimpleNamespace(
        decisions=SimpleNamespace(record=dying(world.ledger.record), stream=world.ledger.stream),
        traffic=SimpleNamespace(apply=dying(world.apply), observe=dying(world.observe), pause=world.pause),
        registry=SimpleNamespace(set_champion=dying(world.set_champion)),
        now=world.now,
    )
    with contextlib.suppress(Killed):
        roll_out(spec, TWO, mortal)
    roll_out(spec, TWO, world.backends)
    assert world.words == ["plan", "adopt", "succeed", *words]
    ended = current("m", world.backends)
    assert world.orders[-1].champion == ended.in_force
    assert world.champion == ended.in_force.version
    verify(world.ledger.stream("release/m"))


def test_of_two_that_release_at_once_the_second_is_told_that_the_generation_moved(world):
    def the_other_comes_first():
        world.ledger.before_record = lambda: None
        roll_out(SPEC, TWO, world.backends)

    world.ledger.before_record = the_other_comes_first
    with pytest.raises(GenerationMoved, match="expected 0, found 3"):
        roll_out(SPEC, ONE, world.backends)
    assert world.champion == "2"
