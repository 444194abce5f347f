"""What `up` remembered decides where a run without `--env` goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from raypipe.config import load_environment
from raypipe.environment import EnvironmentSpec
from raypipe.errors import ConfigError
from raypipe.local.state import PlatformState, environment_in_force, save_state


def test_without_a_name_the_environment_is_the_one_that_is_up_else_local(tmp_path: Path):
    assert environment_in_force(None, tmp_path) == load_environment("local")
    parts = {"storage": {"kind": "embedded", "port": 1}, "registry": {"kind": "embedded"}, "ray": {"kind": "embedded"}}
    up = EnvironmentSpec.model_validate(parts)
    save_state(tmp_path, PlatformState(environment_file="mine.yaml", environment=up))
    assert environment_in_force(None, tmp_path) == up
    assert environment_in_force("local", tmp_path) == load_environment("local")
    with pytest.raises(ConfigError, match="no environment `moon`"):
        environment_in_force("moon", tmp_path)
