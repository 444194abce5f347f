"""`raypipe contract export`, `import` and `dictionary`: the file alone on stdout, what is lost on stderr."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from raypipe.cli import build, report_errors

FLIGHTS = Path("configs/flights")
SCHEDULES = FLIGHTS / "schedules.odcs.yaml"


def raypipe(*arguments: object) -> int:
    words = ["contract", *map(str, arguments)]
    with pytest.raises(SystemExit) as end:
        sys.exit(report_errors(lambda: build(words)(words)))
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.mark.parametrize(("notation", "suffix"), [("avro", "avsc"), ("json-schema", "json"), ("protobuf", "proto")])
def test_a_contract_goes_out_and_comes_back_without_a_change(
    notation: str, suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    exported, back = tmp_path / f"schedules.{suffix}", tmp_path / "back.odcs.yaml"
    assert raypipe("export", SCHEDULES, "--to", notation, "--output", exported) == 0
    assert raypipe("import", exported, "--output", back) == 0
    capsys.readouterr()
    assert raypipe("diff", SCHEDULES, back, "--mode", "FULL") == 0
    assert capsys.readouterr().out == "compatible\n"
    assert raypipe("lint", back) == 0


def test_standard_output_is_the_schema_alone(capsys: pytest.CaptureFixture[str]):
    assert raypipe("export", SCHEDULES, "--to", "avro") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["name"] == "schedules"
    assert "flight: an Avro reader does not check `minimum`, `maximum`: carried on as keys of the contract" in said.err


def test_the_canonical_form_is_a_contract(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert raypipe("export", SCHEDULES, "--to", "odcs", "--output", tmp_path / "canonical.odcs.yaml") == 0
    assert raypipe("diff", SCHEDULES, tmp_path / "canonical.odcs.yaml", "--mode", "FULL") == 0
    assert capsys.readouterr().out == "compatible\n"


def test_a_schema_of_somebody_else_needs_a_key_and_a_clock(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    at = {"type": "long", "logicalType": "timestamp-millis"}
    fields = [{"name": "sensor", "type": "string"}, {"name": "at", "type": at, "aliases": ["time"]}]
    schema = tmp_path / "reading.avsc"
    schema.write_text(json.dumps({"type": "record", "name": "Reading", "fields": fields}))
    assert raypipe("import", schema) == 2
    assert "--key COLUMN and --event-at COLUMN" in capsys.readouterr().err
    options = ["--name", "readings", "--key", "sensor", "--key", "at", "--event-at", "at", "--known-at", "at"]
    contract = tmp_path / "readings.odcs.yaml"
    assert raypipe("import", schema, *options, "--output", contract) == 0
    assert capsys.readouterr().err == "at: `aliases` is not taken over\n"
    assert raypipe("lint", contract) == 0
    assert "2 columns, key sensor, at" in capsys.readouterr().out


def test_a_suffix_that_says_nothing_needs_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    schema = tmp_path / "reading.schema"
    schema.write_text("{}")
    assert raypipe("import", schema) == 2
    assert "say --from with one of avro, protobuf, json-schema" in capsys.readouterr().err
    assert raypipe("import", schema, "--from", "json-schema") == 2
    assert "not the schema of an object" in capsys.readouterr().err
    assert raypipe("import", SCHEDULES, "--from", "odcs") == 2
    assert "need not be imported" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert raypipe("export", SCHEDULES, "--to", "odcs", "--output", tmp_path) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_the_dictionary_of_a_pipeline_has_every_source_and_its_uses(tmp_path: Path):
    page = tmp_path / "flights.md"
    assert raypipe("dictionary", FLIGHTS / "pipeline.yaml", "--output", page) == 0
    text = page.read_text()
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# Data dictionary of flights",
        "## schedules",
        "## departures",
        "## arrivals",
        "## weather",
    ]
    (row,) = [line for line in text.splitlines() if line.startswith("| `wind_speed`")]
    assert row.endswith("| view weather: wind\\_speed |")


def test_contracts_and_pipelines_share_a_page_and_each_source_is_on_it_once(tmp_path: Path):
    page = tmp_path / "all.html"
    assert raypipe("dictionary", SCHEDULES, FLIGHTS / "pipeline.yaml", SCHEDULES, "--output", page) == 0
    text = page.read_text()
    assert text.count("<section ") == 4
    assert text.count("prediction time (scheduled_departure_at - 2h)") == 1


def test_a_dictionary_is_html_or_markdown(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert raypipe("dictionary", SCHEDULES, "--output", tmp_path / "page.pdf") == 2
    assert "a page is .html or .md" in capsys.readouterr().err
