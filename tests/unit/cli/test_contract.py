"""`raypipe contract` says what a contract executes and whom a change breaks, and its exit code says it to a script."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from raypipe.cli import build, report_errors

READINGS = """\
apiVersion: v3.1.0
kind: DataContract
id: readings
version: 1.0.0
schema:
  - name: readings
    customProperties:
      - {property: eventAt, value: at}
    properties:
      - {name: sensor, logicalType: string, primaryKey: true}
      - {name: at, logicalType: timestamp, required: true}
      - name: celsius
        logicalType: number
        logicalTypeOptions: {maximum: 2000}
        quality:
          - {metric: nullValues, mustBe: 0, severity: warning}
"""
NARROWER = READINGS.replace("maximum: 2000", "maximum: 100").replace("1.0.0", "2.0.0")
WIDER = READINGS.replace("maximum: 2000", "maximum: 3000").replace("1.0.0", "0.9.0")


def raypipe(*arguments: object) -> int:
    words = ["contract", *map(str, arguments)]
    with pytest.raises(SystemExit) as end:
        sys.exit(report_errors(lambda: build(words)(words)))
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return written(tmp_path / "old.odcs.yaml", READINGS)


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return written(tmp_path / "new.odcs.yaml", NARROWER)


def written(file: Path, text: str) -> Path:
    file.write_text(text)
    return file


def test_a_breaking_change_is_a_line_and_exit_code_3(old: Path, new: Path, capsys: pytest.CaptureFixture[str]):
    assert raypipe("diff", old, new) == 3
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["since", "what", "old", "new", "backward", "forward"]
    assert lines[1:] == [
        ["1.0.0", "celsius.maximum", "2000", "100", "no", "yes", "breaks"],
        ["breaking", "under", "BACKWARD", "by", "lake"],
    ]


@pytest.mark.parametrize("options", [("--mode", "FORWARD"), ("--rules", "avro"), ("--rules", "protobuf")])
def test_a_change_that_breaks_nobody_whom_the_mode_protects_is_compatible(
    options: tuple[str, str], old: Path, new: Path, capsys: pytest.CaptureFixture[str]
):
    assert raypipe("diff", old, new, *options) == 0
    said = capsys.readouterr().out.splitlines()
    assert "celsius.maximum" in said[1]
    assert "breaks" not in said[1]
    assert said[-1] == "compatible"


def test_a_contract_does_not_differ_from_itself(old: Path, capsys: pytest.CaptureFixture[str]):
    assert raypipe("diff", old, old, "--mode", "FULL") == 0
    assert capsys.readouterr().out == "compatible\n"


def test_a_transitive_mode_looks_at_the_history(old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    first = written(tmp_path / "first.odcs.yaml", WIDER)
    assert raypipe("diff", old, old, "--history", first, "--mode", "FULL_TRANSITIVE") == 3
    said = capsys.readouterr().out.splitlines()
    assert said[1].split() == ["0.9.0", "celsius.maximum", "3000", "2000", "no", "yes", "breaks"]
    assert said[-1] == "breaking under FULL_TRANSITIVE by lake"


def test_a_history_that_would_not_be_looked_at_is_refused(old: Path, capsys: pytest.CaptureFixture[str]):
    assert raypipe("diff", old, old, "--history", old) == 2
    assert "--mode BACKWARD_TRANSITIVE" in capsys.readouterr().err


@pytest.mark.parametrize("mode", ["--mode", "--rules"])
def test_an_unknown_mode_or_set_of_rules_is_refused(mode: str, old: Path, capsys: pytest.CaptureFixture[str]):
    assert raypipe("diff", old, old, mode, "SIDEWARD") == 2
    assert "SIDEWARD" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_is_exit_code_2(old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert raypipe("diff", old, tmp_path / "none.yaml") == 2
    assert "none.yaml: the contract cannot be read" in capsys.readouterr().err
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"name: \xff")
    assert raypipe("lint", binary) == 2
    assert "binary.yaml: the contract is not text in UTF-8 (byte 6)" in capsys.readouterr().err


def test_lint_says_what_is_executed(old: Path, new: Path, capsys: pytest.CaptureFixture[str]):
    assert raypipe("lint", old, new) == 0
    said = "3 columns, key sensor; executed rules: type(*), required(sensor, at), range(celsius)"
    warned = "warnings: required(celsius)"
    assert capsys.readouterr().out.splitlines() == [f"{old}: {said}; {warned}", f"{new}: {said}; {warned}"]


def test_lint_stops_at_the_first_rule_that_cannot_be_executed(
    old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    wrong = written(tmp_path / "wrong.odcs.yaml", READINGS.replace("maximum: 2000", "format: f32"))
    assert raypipe("lint", old, wrong, old) == 2
    said = capsys.readouterr()
    assert said.out.count("columns") == 1
    assert said.err.startswith(f"{wrong}:14: ")
    assert "'f32'" in said.err
