"""What `raypipe release` exits with is where the release stands."""

from __future__ import annotations

import pytest
from test_release import ONE, SPEC, TWO, World
from typer.testing import CliRunner

from raypipe.cli import release as command
from raypipe.release import roll_out
from raypipe.rollout.spec import ReleaseSpec


def ask(*arguments: str) -> int:
    return CliRunner().invoke(command.app, [*arguments, "m", "--reason", "looks good"]).exit_code


@pytest.fixture
def paused(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(command, "_ports", lambda env: world.backends)
    roll_out(SPEC, ONE, world.backends)
    shadow = {"shadow": {"min_pairs": 400, "deadline": "5m"}}
    pausing = ReleaseSpec.model_validate({"steps": [{"pause": {}}, shadow, {"pause": {}}, {"adopt": {}}]})
    roll_out(pausing, TWO, world.backends)
    return world


def test_resume_exits_with_3_when_it_pauses_again_and_with_0_when_it_succeeds(paused: World) -> None:
    assert ask("resume") == 3
    assert ask("resume") == 0
    assert paused.champion == "2"


def test_resume_exits_with_4_when_the_release_is_rolled_back(paused: World) -> None:
    assert ask("resume") == 3
    paused.refused = "digest differs"
    assert ask("resume") == 4
    assert paused.words[-1] == "abort"


def test_abort_and_undo_exit_with_0_when_they_did_what_they_say(paused: World) -> None:
    assert ask("abort") == 0
    assert paused.words[-1] == "abort"
    roll_out(SPEC, TWO, paused.backends, again=True)
    assert ask("undo") == 0
    assert paused.words[-1] == "undo"
