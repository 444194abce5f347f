"""The command line: one sentence for our errors, a traceback for defects, nothing imported before it is asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from raypipe.cli import COMMANDS, build, report_errors
from raypipe.cli.run import execute
from raypipe.errors import ConfigError


def test_an_error_of_ours_is_one_sentence_and_its_exit_code(capsys: pytest.CaptureFixture[str]):
    def fail() -> int:
        raise ConfigError("the file [x] is wrong: write it again")

    assert report_errors(fail) == 2
    assert capsys.readouterr().err == "the file [x] is wrong: write it again\n"


def test_a_defect_is_not_hidden():
    def fail() -> int:
        raise KeyError("x")

    with pytest.raises(KeyError):
        report_errors(fail)


def test_help_needs_no_library_and_names_every_command():
    code = (
        "import sys; from raypipe.cli import build\n"
        "try: build(['--help'])(['--help'])\n"
        "except SystemExit: print(sorted({'ray', 'pyarrow', 'boto3', 'pydantic', 'mlflow'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.rstrip().endswith("[]")
    assert all(name in said.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", ["up", "status", "down"])
def test_a_command_that_is_asked_for_is_the_real_one(name: str):
    found = [c for c in build([name]).registered_commands if (c.name or c.callback.__name__) == name]
    assert [c.callback.__module__ for c in found] == ["raypipe.cli.platform"]


def test_a_sampler_that_is_not_installed_is_said_before_anything_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("RAYPIPE_HOME", str(tmp_path))
    monkeypatch.setattr("raypipe.training.search.find_spec", lambda name: None)
    flights = Path(__file__).parents[3] / "configs/flights/pipeline.yaml"
    with pytest.raises(ConfigError, match=r"no package `optuna` here: run `pip install 'raypipe\[optuna\]'`"):
        execute(flights, None, ["search.sampler=optuna"])
