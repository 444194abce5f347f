"""From one generation to the next: forward only, whole or not at all, and never at the champion's cost."""

from __future__ import annotations

import threading

import pytest
from gateway_fakes import EXAMPLE, Loader, Scorer, Waiting, reconfigured, together, user_config
from hypothesis import given
from hypothesis import strategies as st

from raypipe.adapters.gateway_loading import Switch, later
from raypipe.adapters.gateway_state import Loaded
from raypipe.errors import AccessDenied, Unavailable


@pytest.fixture
def switch():
    return reconfigured(Switch(Loader()), user_config(1, "1", ("1", "b1")))


def champion(switch):
    model = switch.state.models["flights"]
    return model.champion.version if model.champion else None


def epoch(switch):
    return switch.status().epochs["flights"]


def test_a_prepared_candidate_is_adopted_without_loading_it_again(switch):
    reconfigured(switch, user_config(2, "1", ("1", "b1"), ("2", "b2")))
    assert (champion(switch), set(switch.state.models["flights"].versions)) == ("1", {"1", "2"})
    assert switch.reconfigure(user_config(3, "2", ("1", "b1"), ("2", "b2"))) == ()
    assert (champion(switch), epoch(switch)) == ("2", 3)
    assert switch._load.loaded == ["b1", "b2"]


def test_a_lower_generation_is_ignored(switch):
    reconfigured(switch, user_config(5, "2", ("2", "b2")))
    reconfigured(switch, user_config(4, "1", ("1", "b1")))
    assert (champion(switch), switch.status().wanted) == ("2", {"flights": 5})


@pytest.mark.parametrize("digest", ["bad", "broken", "nan", "squeezing"])
def test_a_refused_candidate_leaves_the_champion_in_force_and_says_why(switch, digest):
    reconfigured(switch, user_config(2, "1", ("1", "b1"), ("2", digest)))
    status = switch.status()
    assert (champion(switch), status.epochs) == ("1", {"flights": 2})
    assert list(status.refused) == ["flights/2"]
    assert status.loaded == {"flights": {"1": "b1"}}


def test_a_refused_champion_leaves_the_whole_state_before_in_force(switch):
    reconfigured(switch, user_config(2, "2", ("1", "b1"), ("2", "bad"), ("3", "b3")))
    status = switch.status()
    assert (status.epochs, status.wanted, status.champions) == ({"flights": 1}, {"flights": 2}, {"flights": "1"})
    assert "BundleRefused: s3://lake/bad is not bad" in status.refused["flights/2"]


def test_a_model_that_scores_several_rows_but_not_one_alone_is_refused_with_both_shapes(switch):
    reconfigured(switch, user_config(2, "2", ("1", "b1"), ("2", "squeezing")))
    reason = switch.status().refused["flights/2"]
    assert reason.startswith("BundleRefused: version 2 scores 1 rows of its example as array(1.) of shape (), expected")
    assert "expected shape (1,)" in reason


def test_a_new_replica_serves_what_it_can_load():
    switch = reconfigured(Switch(Loader()), user_config(7, "1", ("1", "b1"), ("2", "broken")))
    assert champion(switch) == "1"
    assert list(switch.status().refused) == ["flights/2"]


def test_the_same_generation_again_retries_only_what_was_refused(switch):
    config = user_config(2, "2", ("1", "b1"), ("2", "bad"))
    reconfigured(switch, config)
    reconfigured(switch, config)
    assert switch._load.loaded == ["b1", "bad", "bad"]
    assert switch.reconfigure(user_config(3, "1", ("1", "b1"))) == ()
    assert not switch.status().refused


def test_one_generation_never_means_two_things(switch):
    reconfigured(switch, user_config(1, "2", ("2", "b2")))
    assert champion(switch) == "1"
    assert "already orders other traffic" in switch.status().refused["flights"]
    switch.reconfigure(user_config(2, "1", ("1", "b1")))
    assert not switch.status().refused


@pytest.mark.parametrize(
    "wrong",
    [None, {}, user_config(0, "1", ("1", "b1")), user_config(2, "9", ("1", "b1")), user_config(2, None, surprise=1),
     user_config(2, "1", ("1", "b1"), ("1", "b2")), user_config(2, "1", ("1", "b1"), name="a/b")],
)  # fmt: skip
def test_a_wrong_user_config_is_reported_and_raises_nothing(switch, wrong):
    assert switch.reconfigure(wrong) == ()
    assert champion(switch) == "1"
    assert "user_config" in switch.status().refused


def test_an_abort_does_not_wait_for_a_candidate_that_hangs(switch):
    release = threading.Event()
    load = switch._load

    def hang(address, wanted):
        return (release.wait(10) and None) or load(address, wanted)

    switch._load = hang
    (work,) = switch.reconfigure(user_config(2, "2", ("1", "b1"), ("2", "b2")))
    assert switch.reconfigure(user_config(3, "1", ("1", "b1"))) == ()
    assert (champion(switch), epoch(switch)) == ("1", 3)
    release.set()
    work.result(10)
    assert (champion(switch), epoch(switch)) == ("1", 3)


def test_loaders_that_hang_are_noticed_and_refused():
    release = threading.Event()

    def hang(address, wanted):
        release.wait(10)
        return Loaded(Scorer(0.0), EXAMPLE)

    switch = Switch(hang, deadline_s=0.01)
    reconfigured(switch, user_config(1, "1", ("1", "b1")))
    assert "loading took more than 0.01 s" in switch.status().refused["flights/1"]
    switch.check()
    reconfigured(switch, user_config(2, "2", ("2", "b2")))
    with pytest.raises(Unavailable, match="2 of 2 loading threads hang"):
        switch.check()
    release.set()
    for future in switch._hung:
        future.result(10)
    switch.check()


def trains(generation, champion, *loaded):
    return user_config(generation, champion, *loaded, name="trains")


def test_two_models_released_one_after_the_other_keep_their_own_epochs(switch):
    flights = user_config(1, "1", ("1", "b1"))
    for config in (trains(1, None, ("1", "b3")), trains(2, "1", ("1", "b3")), trains(3, "1", ("1", "b3"))):
        reconfigured(switch, together(flights, config))
    flights = user_config(2, "1", ("1", "b1"), ("2", "b2"))
    status = reconfigured(switch, together(flights, config)).status()
    assert status.epochs == status.wanted == {"flights": 2, "trains": 3}
    assert status.champions == {"flights": "1", "trains": "1"}
    assert switch._load.loaded == ["b1", "b3", "b2"]


def test_an_order_that_is_late_for_one_model_moves_the_other_all_the_same(switch):
    reconfigured(switch, together(user_config(3, "1", ("1", "b1")), trains(1, None, ("1", "b3"))))
    reconfigured(switch, together(user_config(2, "2", ("2", "b2")), trains(2, "1", ("1", "b3"))))
    assert (champion(switch), switch.status().epochs) == ("1", {"flights": 3, "trains": 2})
    assert not switch.status().refused


def test_a_model_that_an_order_does_not_name_stays(switch):
    reconfigured(switch, trains(5, "1", ("1", "b3")))
    assert switch.status().champions == {"flights": "1", "trains": "1"}


def test_a_refused_champion_of_one_model_holds_up_no_other(switch):
    status = reconfigured(switch, together(user_config(2, "2", ("2", "bad")), trains(1, "1", ("1", "b3")))).status()
    assert status.champions == {"flights": "1", "trains": "1"}
    assert status.epochs == {"flights": 1, "trains": 1}
    assert list(status.refused) == ["flights/2"]
    reconfigured(switch, trains(2, "1", ("1", "b3")))
    assert list(switch.status().refused) == ["flights/2"]


def test_a_model_that_hangs_while_loading_holds_up_no_other():
    release = threading.Event()
    load = Loader()

    def hang(address, wanted):
        return (wanted.digest == "b2" and release.wait(10) and None) or load(address, wanted)

    switch = reconfigured(Switch(hang), user_config(1, "1", ("1", "b1")))
    flights = user_config(2, "1", ("1", "b1"), ("2", "b2"))
    (slow,) = switch.reconfigure(flights)
    (quick,) = switch.reconfigure(together(flights, trains(1, "1", ("1", "b3"))))
    quick.result(10)
    assert (switch.status().champions["trains"], epoch(switch), slow.done()) == ("1", 1, False)
    release.set()
    slow.result(10)
    assert epoch(switch) == 2


def test_an_aborted_candidate_is_gone_even_where_the_former_champion_cannot_be_loaded(switch):
    reconfigured(switch, user_config(2, "1", ("1", "b1"), ("2", "b2"), ("3", "b3")))
    reconfigured(switch, user_config(3, "9", ("9", "bad"), ("3", "b3")))
    assert (champion(switch), epoch(switch)) == ("1", 2)
    assert switch.status().loaded == {"flights": {"1": "b1", "3": "b3"}}


@pytest.fixture
def waiting():
    return Waiting()


@pytest.fixture
def away(waiting):
    return Switch(Loader(away={"b1": Unavailable("the store is away")}), later=waiting)


@pytest.mark.parametrize("error", [Unavailable("the store is away"), AccessDenied("the keys are refused")])
def test_what_the_store_did_not_give_is_tried_again_until_it_does_and_the_status_says_why_meanwhile(
    away, waiting, error
):
    away._load.away["b1"] = error
    reconfigured(away, user_config(1, "1", ("1", "b1")))
    for _ in range(5):
        assert away.status().refused == {"flights/1": f"{type(error).__name__}: {error}"}
        assert champion(away) is None
        waiting.over()
    assert waiting.seconds == [3, 6, 12, 24, 30, 30]
    away._load.away.clear()
    waiting.over()
    assert (champion(away), epoch(away), away.status().refused) == ("1", 1, {})
    assert not waiting.calls


@pytest.mark.parametrize("digest", ["bad", "broken", "nan"])
def test_a_bundle_that_is_refused_for_good_is_not_tried_again(away, waiting, digest):
    reconfigured(away, user_config(1, "1", ("1", "b1"), ("2", digest), ("3", "b3")))
    away._load.away.clear()
    waiting.over()
    assert away._load.loaded == ["b1", digest, "b3", "b1"]
    assert (champion(away), list(away.status().refused), waiting.calls) == ("1", ["flights/2"], [])


def test_a_retry_ends_when_another_generation_is_ordered(away, waiting):
    reconfigured(away, user_config(1, "1", ("1", "b1")))
    reconfigured(away, user_config(2, "2", ("2", "b2")))
    away._load.away.clear()
    waiting.over()
    assert (champion(away), epoch(away), away._load.loaded) == ("2", 2, ["b1", "b2"])
    assert not waiting.calls


def test_a_retry_that_ends_after_another_generation_was_ordered_changes_nothing(away, waiting):
    reconfigured(away, user_config(1, "1", ("1", "b1")))
    load = away._load

    def overtaken(address, wanted):
        load.away.clear()
        if wanted.digest == "b1":
            reconfigured(away, user_config(2, "2", ("2", "b2")))
        return load(address, wanted)

    away._load = overtaken
    waiting.over()
    assert (champion(away), epoch(away), away.status().loaded) == ("2", 2, {"flights": {"2": "b2"}})
    assert not waiting.calls


def test_of_a_retry_and_the_same_generation_ordered_again_only_the_later_one_goes_on(away, waiting):
    config = user_config(1, "1", ("1", "b1"))
    reconfigured(reconfigured(away, config), config)
    waiting.over()
    assert (away._load.loaded, len(waiting.calls)) == (["b1"] * 3, 1)


def test_a_retry_loads_what_was_ordered_even_where_its_generation_was_ordered_to_be_two_things(away, waiting):
    reconfigured(away, user_config(1, "1", ("1", "b1")))
    reconfigured(away, user_config(1, "2", ("2", "b2")))
    away._load.away.clear()
    waiting.over()
    assert (champion(away), list(away.status().refused)) == ("1", ["flights"])


def test_a_candidate_that_comes_late_joins_the_champion_and_a_retry_in_vain_changes_nothing(away, waiting):
    reconfigured(away, user_config(1, "3", ("3", "b3")))
    reconfigured(away, user_config(2, "3", ("3", "b3"), ("1", "b1")))
    before = away.state
    waiting.over()
    assert away.state.models["flights"] is before.models["flights"]
    away._load.away.clear()
    waiting.over()
    assert away.status().loaded == {"flights": {"3": "b3", "1": "b1"}}


def test_a_model_that_waits_for_the_store_holds_up_no_other(away):
    names = ["a", "b", "c"]
    reconfigured(away, together(*(user_config(1, "1", ("1", "b1"), name=name) for name in names)))
    reconfigured(away, trains(1, "1", ("1", "b3")))
    assert away.status().champions == {"trains": "1"}


def test_later_calls_in_another_thread():
    called = threading.Event()
    names = []
    later(0, lambda: (names.append(threading.current_thread().name), called.set()))
    assert called.wait(10)
    assert names != [threading.current_thread().name]


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.integers(1, 6), st.sampled_from(["b1", "b2", "bad"])), max_size=8
    )
)
def test_whatever_arrives_in_whatever_order_no_model_falls_back_or_stops_answering(orders):
    switch = Switch(Loader())
    before = switch.status()
    for name, generation, digest in orders:
        reconfigured(switch, user_config(generation, digest, (digest, digest), name=name))
        after = switch.status()
        assert all(after.epochs[model] >= epoch for model, epoch in before.epochs.items())
        assert after.champions.keys() >= before.champions.keys()
        assert {m: v for m, v in after.champions.items() if m != name} == {
            m: v for m, v in before.champions.items() if m != name
        }
        before = after
