"""`raypipe dlq` counts, shows without what is not public, replays and drops, and says what a person can do."""

from __future__ import annotations

import json
import sys

import pytest
from dlq_world import World, row

from raypipe.cli import build, report_errors


@pytest.fixture
def world(tmp_path, monkeypatch):
    world = World(tmp_path)
    monkeypatch.setattr("raypipe.cli.dlq._store", lambda env: world.store)
    monkeypatch.setattr("raypipe.cli.dlq.operator", lambda: "ann@desk")
    monkeypatch.setenv("COLUMNS", "200")
    return world


@pytest.fixture
def refused(world):
    world.land("a", row("t1"), row("t2", minutes=20.0), row("t3", minutes=99.0, seats=99))
    (world.landing / "b").write_text("[red]oops[/]")
    world.ingest()
    return world


@pytest.fixture
def raypipe(capsys):
    def run(*words, code=0):
        words = ["dlq", *map(str, words)]
        with pytest.raises(SystemExit) as end:
            sys.exit(report_errors(lambda: build(words)(words)))
        assert (end.value.code or 0) == code
        said = capsys.readouterr()
        return said.err if code else said.out

    return run


def ids(world):
    return world.letters()["letter_id"].to_list()


def test_the_list_counts_first_and_then_shows_the_newest(refused, raypipe):
    lines = [line.split() for line in raypipe("list", refused.config, "--limit", 1).splitlines()]
    assert lines[0] == ["source", "reason", "contract", "version", "status", "letters"]
    assert lines[1:4] == [
        ["trips", "malformed(json)", "1.0.0", "open", "1"],
        ["trips", "range(minutes)", "1.0.0", "open", "2"],
        ["trips", "range(seats)", "1.0.0", "open", "1"],
    ]
    assert ["the", "newest", "1", "of", "3:"] in lines
    assert lines[-1][0] == ids(refused)[-1][:12]


def test_the_list_can_be_read_by_a_program_and_narrowed(refused, raypipe):
    found = json.loads(raypipe("list", "--json", "--reason", "range(seats)", "--since", "1h", "--status", "open"))
    assert [(c["reason"], c["letters"]) for c in found["counts"]] == [("range(minutes)", 1), ("range(seats)", 1)]
    assert [x["letter_id"] for x in found["letters"]] == [ids(refused)[1]]
    assert "raw" not in found["letters"][0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("list", "--status", "gone"), "--status is 'gone': it is one of open, replayed, dropped"),
        (("list", "--since", "soon"), "--since is 'soon': give a duration such as 6h"),
        (("drop", "--source", "trips"), "say why with --reason TEXT"),
        (("drop", "--reason", "because"), "say which letters"),
        (("show", "zz"), "no dead letter begins with 'zz'"),
    ],
)
def test_what_is_asked_wrongly_is_exit_code_2(refused, raypipe, words, said):
    assert said in raypipe(*words, code=2)


def test_an_empty_queue_is_said_to_be_empty(world, raypipe):
    assert "no dead letter" in raypipe("list")


def test_what_is_not_public_is_masked_until_somebody_looks_on_record(refused, raypipe):
    letter = ids(refused)[0][:8]
    assert "20.0" not in raypipe("show", letter)
    masked = raypipe("show", letter, "--config", refused.config)
    assert '"minutes": 20.0' in masked
    assert '"trip": "***"' in masked
    assert not refused.decisions()
    assert '"trip": "t2"' in raypipe("show", letter, "--unmask")
    assert [(what, who) for what, who, _ in refused.decisions()] == [("unmask", "ann@desk")]
    assert "shown in full to ann@desk" in raypipe("show", letter)


def test_a_payload_is_never_taken_for_markup(refused, raypipe):
    assert "[red]oops[/]" in raypipe("show", ids(refused)[-1], "--unmask")


def test_a_replay_says_what_became_of_every_letter(refused, raypipe):
    refused.promise(maximum=50)
    dry = raypipe("replay", refused.config, "--dry-run")
    assert "nothing was changed" in dry
    said = raypipe("replay", refused.config)
    assert dry.startswith(said)
    assert said.splitlines()[1].split() == ["trips", "3", "1", "0", "1", "1"]
    assert f"trips: still refused: 1 x range(seats): {ids(refused)[1][:12]}" in said
    assert "trips: cannot be replayed: 1 x malformed(json)" in said
    assert "again in new objects" in said
    assert "accepted by ann@desk: checked again under version 1.0.0" in raypipe("show", ids(refused)[0])


def test_a_replay_says_that_rules_on_a_table_were_not_judged(refused, raypipe):
    refused.promise(maximum=50)
    contract = refused.root / "trips.odcs.yaml"
    rule = "    quality: [{metric: rowCount, mustBeGreaterThan: 1000}]\n    properties:"
    assert "rules on a table" not in raypipe("replay", refused.config, "--dry-run")
    contract.write_text(contract.read_text().replace("    properties:", rule))
    assert "trips: its rules on a table were not judged" in raypipe("replay", refused.config)


def test_a_drop_says_how_many_and_why(refused, raypipe):
    said = raypipe("drop", "--rule", "malformed", "--reason", "a test wrote it")
    assert said == "trips: 1 letters are dropped: a test wrote it\n"
    assert "dropped by ann@desk: a test wrote it" in raypipe("show", ids(refused)[-1])
    assert "nothing was dropped" in raypipe("drop", "--rule", "malformed", "--reason", "again")
