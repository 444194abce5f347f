"""A retraining is the same pipeline, run as it was asked for."""

from __future__ import annotations

import shlex

from raypipe.adapters.jobs_ray import command_of


def test_a_retraining_is_run_in_its_environment_with_every_override_as_one_word() -> None:
    overrides = ["training.seed=8", "triggers.any_of=[{kind: quality}]"]
    command = shlex.split(command_of("configs/my file.yaml", "configs/env/here.yaml", overrides))
    assert command[:5] == ["python", "-m", "raypipe", "run", "configs/my file.yaml"]
    assert command[5:7] == ["--env", "configs/env/here.yaml"]
    assert command[7:] == ["--set", overrides[0], "--set", overrides[1]]


def test_without_an_environment_it_finds_the_one_in_force() -> None:
    assert command_of("p.yaml", None, []) == "python -m raypipe run p.yaml"
