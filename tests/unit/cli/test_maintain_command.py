"""`raypipe maintain` says what it did, or would do, and what a person can do where it cannot."""

from __future__ import annotations

import sys
from datetime import timedelta

import pytest
from dlq_world import World, now, row

from raypipe.adapters.lake.decisions import Decisions
from raypipe.adapters.upkeep import Upkeep
from raypipe.cli import build, report_errors
from raypipe.errors import Unavailable
from raypipe.ports import ModelVersion

RETENTION = "slaProperties: [{property: retention, value: 5, unit: y}]\n"


class NoModels:
    def versions(self):
        return ()


class Lost:
    def versions(self):
        return (ModelVersion("trips", "3", "0" * 64),)


class Away:
    def versions(self):
        raise Unavailable("MLflow at http://x does not answer: is it running?", system="mlflow", address="x")


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    contract = tmp_path / "trips.odcs.yaml"
    contract.write_text(RETENTION + contract.read_text())
    for n in range(8):
        world.land(f"o{n}", row(f"t{n}", day=n + 1), row(f"u{n}", minutes=99.0))
        world.ingest()
    return world


@pytest.fixture
def raypipe(world, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("raypipe.cli.maintain.operator", lambda: "ann@desk")

    def run(*words, registry=NoModels, code=0, days=0):
        upkeep = Upkeep(world.store, registry, lambda: now() + timedelta(days=days))
        monkeypatch.setattr("raypipe.cli.maintain._upkeep", lambda env: upkeep)
        words = ["maintain", str(world.config), *words]
        with pytest.raises(SystemExit) as end:
            sys.exit(report_errors(lambda: build(words)(words)))
        assert (end.value.code or 0) == code
        said = capsys.readouterr()
        return (said.out, said.err) if code else said.out

    return run


def lines(said):
    return [line.split() for line in said.splitlines()]


def test_a_dry_run_says_what_would_go_in_rows_files_and_bytes(world, raypipe):
    said = lines(raypipe("--dry-run"))
    assert said[0] == ["step", "table", "rows", "files", "bytes", "what"]
    assert said[1][:4] == ["retention", "events/trips", "8", "8"]
    assert int(said[1][4].replace(",", "")) > 0
    assert " ".join(said[1][5:]).endswith("kept for 5 y")
    assert [line[:4] for line in said[2:-1]] == [
        ["compaction", "dead_letters", "8", "8"],
        ["compaction", "manifests", "8", "8"],
        ["compaction", "decisions", "8", "8"],
    ]
    assert " ".join(said[-1]) == "nothing was changed (--dry-run)"
    assert len(world.trips()) == 8


def test_what_it_did_is_done_and_the_pipeline_goes_on(world, raypipe):
    assert lines(raypipe())[1][:4] == ["retention", "events/trips", "8", "8"]
    assert world.trips() == []
    assert len(world.letters()) == 8
    (decision,) = Decisions(world.store).stream("retention/trips")
    assert decision.who == "ann@desk"
    assert decision.why.endswith("version 1.0.0 of the contract keeps them for 5 y")
    assert raypipe().startswith("nothing to do")
    world.land("o9", row("t9"), row("u9", minutes=99.0))
    counts = world.ingest()
    assert (counts.accepted, counts.dead_letters) == (1, 1)
    world.promise(maximum=100)
    assert len(world.replay().fates) == 9


def test_files_of_old_versions_are_deleted_later(raypipe):
    raypipe()
    said = [line for line in lines(raypipe(days=40)) if line[0] == "vacuum"]
    assert [line[1:3] for line in said][:2] == [["events/trips", "8"], ["dead_letters", "8"]]


@pytest.mark.parametrize(
    ("registry", "why"), [(Away, "MLflow at http://x does not answer"), (Lost, "nothing is vacuumed: it is not known")]
)
def test_where_models_are_not_known_nothing_is_deleted_and_the_rest_is_done(raypipe, registry, why):
    raypipe()
    out, error = raypipe(registry=registry, code=1, days=40 + 5 * 366)
    assert lines(out)[1][:3] == ["retention", "dead_letters", "8"]
    assert "vacuum" not in out
    assert why in error


@pytest.mark.parametrize(
    ("keep", "why"), [("6d", "--keep is 6d, and 7d is the least"), ("long", "--keep: 'long' is not a duration")]
)
def test_versions_are_kept_longer_than_a_run_takes(raypipe, keep, why):
    _, error = raypipe("--keep", keep, code=2)
    assert why in error
