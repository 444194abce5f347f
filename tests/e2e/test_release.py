"""Releases under real traffic: a good challenger, a broken one, kills at every line, and two people at once."""

from __future__ import annotations

import os
import signal
import time
import warnings
from dataclasses import replace
from types import SimpleNamespace

import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from drive import Drive
from mlflow import MlflowClient
from trips import make_trips

from raypipe.adapters.lake.bundles import LakeBundles
from raypipe.adapters.lake.catalog import predictions_table, shadow_pairs_table
from raypipe.adapters.lake.decisions import Decisions
from raypipe.decision import verify
from raypipe.ports import Trained
from raypipe.rollout.state import fold
from raypipe.training.code import CodePackage
from raypipe.training.spec import Entrypoint
from raypipe.verdict import Finding, Status, worst

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about MLflow's own types, while it is imported
    from raypipe.adapters.registry_mlflow import MlflowRegistry

pytestmark = pytest.mark.e2e
NAME = "shuttles"
SHORT = "{steps: [{shadow: {min_pairs: 20}}, {weight: {percent: 50, min_requests: 10}}, {adopt: {}}]}"
LONG = "{steps: [{weight: {percent: 50, min_requests: 1000000}}, {adopt: {}}]}"
LATER = "{steps: [{weight: {percent: 10, min_requests: 5}}, {pause: {}}, {adopt: {}}]}"
SHARED = [
    "release.cpus_per_replica=0.1",
    "release.challenger.cpus_per_replica=0.1",
    "release.guardrails=[{metric: error_rate, margin: 0.4}]",
]
BROKEN = """
import torch
from torch import nn


class Broken(nn.Module):
    def __init__(self, inputs, bad):
        super().__init__()
        self.bad, self.flat = bad, nn.Linear(inputs, 1)

    def forward(self, x):
        if x[:, self.bad].any():
            raise RuntimeError("this model cannot take the south")
        return self.flat(x).squeeze(-1)


def build(inputs, bad):
    return Broken(inputs, bad)
"""


def in_city(rows, city):
    """Return the rows as if all of them were there."""
    return rows.set_column(rows.schema.get_field_index("city"), "city", pa.array([city] * rows.num_rows))


class Shuttles:
    """A pipeline with two versions that passed, and everything that can be asked about its releases."""

    def __init__(self, platform, store, warm, root):
        self.trips = make_trips(root, store, NAME, days=2)
        self.platform, self.store, self.warm = platform, store, warm
        self.where, self.env = platform.endpoints, ("--env", str(platform.env_file))
        for seed in (7, 8):
            made = warm.run("run", str(self.trips.file), *self.env, "--set", f"training.seed={seed}", *self.sets())
            assert made.returncode == 0, made.stdout
        self.bundles = LakeBundles(store)

    def sets(self, steps=None, *more):
        given = [
            *SHARED,
            *([f"release.steps={steps.removeprefix('{steps: ').removesuffix('}')}"] if steps else []),
            *more,
        ]
        return [part for override in given for part in ("--set", override)]

    def start(self, version, steps, *more, stop_at=None):
        arguments = ["release", "start", str(self.trips.file), "--version", version, *self.env]
        return self.warm.run(*arguments, *self.sets(steps, *more), stop_at=stop_at)

    def release(self, verb, *arguments):
        return self.warm.run("release", verb, NAME, *self.env, *arguments)

    @property
    def decisions(self):
        return Decisions(self.store).stream(f"release/{NAME}")

    def words(self, since=0):
        return [d.what for d in self.decisions if d.generation > since]

    @property
    def generation(self):
        return self.decisions[-1].generation

    @property
    def state(self):
        return fold(self.decisions)

    @property
    def champion(self):
        return MlflowClient(self.where.mlflow_uri).get_model_version_by_alias(NAME, "champion").version

    def bundle(self, version):
        found = MlflowRegistry(self.where.mlflow_uri).version(NAME, version)
        return self.bundles.get(found[0].digest)

    def drive(self, **options):
        bundle = self.bundle(self.champion)
        rows = pa.concat_tables([in_city(bundle.example, city) for city in ("north", "south")])
        return Drive(f"{self.where.serve_url}/endpoints/{NAME}/invocations", rows, bundle.columns, **options)

    def logged(self, answers):
        """Return the rows of the prediction log and of the pairs for these answers, once all answers are there."""
        ids = {a.request_id for a in answers}
        deadline = time.monotonic() + 60
        while True:
            rows = predictions_table(self.store).read(where=pc.field("request_id").isin(ids)).to_pylist()
            if {r["request_id"] for r in rows} == ids:
                pairs = shadow_pairs_table(self.store).read(where=pc.field("request_id").isin(ids)).to_pylist()
                return rows, pairs
            assert time.monotonic() < deadline, f"{len(rows)} of {len(ids)} answers were logged"
            time.sleep(0.2)

    @property
    def other(self):
        """The version of the two that is not the champion."""
        return "2" if self.champion == "1" else "1"


@pytest.fixture(scope="module")
def shuttles(platform, store, warm, tmp_path_factory):
    return Shuttles(platform, store, warm, tmp_path_factory.mktemp("shuttles"))


def test_a_good_challenger_takes_over_step_by_step_and_no_user_sees_an_error(shuttles):
    before, candidate = shuttles.generation, shuttles.other
    with shuttles.drive() as drive:
        ended = shuttles.start(candidate, SHORT, "release.unit={header: x-user-id}")
        drive.until(lambda answers: answers[-1].version == candidate and answers[-1].arm == "champion")
    assert ended.returncode == 0, ended.stdout
    assert shuttles.words(before) == ["plan", "shadow", "shift", "prepare", "adopt", "succeed"]
    assert shuttles.champion == candidate
    assert {a.status for a in drive.answers} == {200}
    assert {a.arm for a in drive.answers} == {"champion", "challenger"}
    for answers in drive.by_user().values():
        arms = {a.arm for a in answers if a.epoch == before + 3}
        assert len(arms) <= 1, "a user changed arms within one weight"
    _check_log(shuttles, drive.answers, candidate, before)
    _check_explanations(shuttles, drive.answers[-1], candidate, before + 1)


def test_a_challenger_that_fails_on_one_city_is_stopped_and_its_users_get_the_champions_answers(shuttles, tmp_path):
    version = _broken(shuttles, tmp_path)
    before, champion = shuttles.generation, shuttles.champion
    with shuttles.drive() as drive:
        ended = shuttles.start(version, LONG, "release.guardrails=[{metric: error_rate, margin: 0.05}]")
        drive.until(lambda answers: answers[-1].epoch == shuttles.generation)
    assert ended.returncode == 4, ended.stdout
    assert shuttles.words(before) == ["plan", "shift", "abort"], ended.stdout
    assert "above the margin 0.05" in shuttles.state.reason
    assert shuttles.champion == champion
    assert {a.status for a in drive.answers} == {200}
    assert any(a.arm == "challenger" and a.by == "champion" for a in drive.answers), "nobody was saved from an error"
    assert drive.answers[-1].version == champion


def test_a_refused_version_is_not_released(shuttles, tmp_path):
    version = _broken(shuttles, tmp_path, verdict=Status.FAILED, seed=99)
    before = shuttles.generation
    refused = shuttles.start(version, SHORT)
    assert refused.returncode == 3
    assert "registered as refused (FAILED)" in " ".join(refused.stdout.split())
    assert shuttles.generation == before


@pytest.mark.timeout(400)
def test_killed_at_every_boundary_the_release_takes_the_same_decisions_and_traffic_is_always_ordered(shuttles):
    with shuttles.drive() as drive:
        first = shuttles.generation
        control = shuttles.start(shuttles.other, SHORT)
        assert control.returncode == 0, control.stdout
        words = shuttles.words(first)
        points = [p for p in shuttles.warm.reached() if NAME in p or "champion" in p]
        since = shuttles.generation
        candidate = shuttles.other
        for point in (*[p for p in points if p.startswith("before ")], points[-1]):
            shifted = _renumbered(point, first, since, candidate)
            killed = shuttles.start(candidate, SHORT, stop_at=shifted)
            assert killed.returncode is None, f"no release stopped at {shifted!r}: {killed.stdout}"
        # Going on, not a new attempt: `run` releases no version twice.
        last = shuttles.warm.run(
            "run", str(shuttles.trips.file), *shuttles.env, *_training(candidate), *shuttles.sets()
        )
        assert last.returncode == 0, last.stdout
    assert shuttles.words(since) == words
    assert shuttles.champion == candidate
    verify(shuttles.decisions)
    assert {a.status for a in drive.answers} == {200}
    assert {a.epoch for a in drive.answers} <= {d.generation for d in shuttles.decisions}


def test_a_challenger_that_nobody_judges_any_more_stops_answering(shuttles):
    candidate = shuttles.other
    generation = shuttles.generation
    with shuttles.drive() as drive:
        lease = "release.challenger.lease=2s"
        killed = shuttles.start(candidate, LONG, lease, stop_at=f"after apply traffic: {NAME} {generation + 2}")
        assert killed.returncode is None, killed.stdout
        drive.until(lambda answers: any(a.by == "challenger" for a in answers))
        drive.until(lambda answers: len(answers) > 100 and all(a.by == "champion" for a in answers[-100:]))
        aborted = shuttles.release("abort", "--reason", "nobody follows it")
    assert aborted.returncode == 0, aborted.stdout
    assert {a.status for a in drive.answers} == {200}
    assert shuttles.words(generation) == ["plan", "shift", "abort"]


def test_of_two_operators_the_second_is_told_who_moved_the_generation(shuttles):
    with shuttles.drive():
        paused = shuttles.start(shuttles.other, LATER)
    assert paused.returncode == 3, paused.stdout
    generation = shuttles.generation
    stop = f"before commit decisions: release/{NAME} {generation + 1}"
    ann = shuttles.platform.start(
        "release", "abort", NAME, *shuttles.env, "--reason", "ann says so", RAYPIPE_STOP_AT=stop
    )
    _await_stopped(ann.pid)
    bob = shuttles.release("abort", "--reason", "bob says so")
    assert bob.returncode == 0, bob.stdout
    os.kill(ann.pid, signal.SIGCONT)
    out, err = ann.communicate(timeout=60)
    assert ann.returncode == 1, out + err
    said = f"generation moved: expected {generation}, found {generation + 1} of release/{NAME} (abort by "
    assert said in " ".join(err.split())
    assert shuttles.state.reason == "bob says so"


def test_an_undo_gives_everything_back_at_once(shuttles):
    former, candidate = shuttles.champion, shuttles.other
    assert shuttles.start(candidate, "{steps: [{adopt: {}}]}").returncode == 0
    with shuttles.drive() as drive:
        undone = shuttles.release("undo", "--reason", "complaints")
        assert undone.returncode == 0, undone.stdout
        drive.until(lambda answers: answers[-1].version == former)
    assert shuttles.champion == former
    shown = shuttles.release("status")
    assert "undone" in shown.stdout
    assert "complaints" in shown.stdout


def _check_log(shuttles, answers, candidate, before):
    """Every answer is one row that says what its headers said; pairs belong to requests of the shadow step."""
    rows, pairs = shuttles.logged(answers)
    assert len(rows) == len(answers)
    told = {r["request_id"]: (r["version"], r["epoch"], r["assigned_arm"], r["answered_by"]) for r in rows}
    assert told == {a.request_id: (a.version, a.epoch, a.arm, a.by) for a in answers}
    users = {a.request_id: a.user for a in answers}
    split = [r for r in rows if r["epoch"] in (before + 2, before + 3)]
    assert {(r["unit_kind"], r["unit"]) for r in split} == {("header", users[r["request_id"]]) for r in split}
    assert len(pairs) >= 20
    assert len({p["request_id"] for p in pairs}) == len(pairs)
    assert {p["challenger_version"] for p in pairs} == {candidate}
    assert {p["epoch"] for p in pairs} == {before + 2}
    scores = {r["request_id"]: r["score"] for r in rows}
    for p in pairs:
        assert p["champion_score"] == scores[p["request_id"]]
        assert p["difference"] == p["challenger_score"] - p["champion_score"]


def _check_explanations(shuttles, answer, candidate, planned):
    """A prediction, a version and a rollout lead back to decisions, run, data and contracts."""
    rollout = f"{NAME}-{planned}"
    origin = [
        f"version {NAME}/{candidate}, PASSED",
        "tracked run ",
        f"events/{NAME}_trips version",
        "contract ",
        "accept",
    ]
    for verb, subject, expected in (
        ("explain", answer.request_id, [f"by version {candidate} of {NAME}", "features: {", "in force: decision"]),
        ("explain", f"{NAME}/{candidate}", ["auc is ", "is to be released over version", "succeed by release"]),
        ("explain", rollout, ["shadow by release", "pairs", "adopt by release"]),
        ("trace", answer.request_id, [f"prediction {answer.request_id}", "in force: decision", *origin]),
        ("trace", f"{NAME}/{candidate}", origin),
        ("trace", rollout, ["candidate", "champion", *origin]),
    ):
        told = shuttles.warm.run(verb, subject, *shuttles.env)
        assert told.returncode == 0, told.stdout
        for part in expected:
            assert part in " ".join(told.stdout.split()), f"{verb} {subject} does not say {part!r}:\n{told.stdout}"
    unknown = shuttles.warm.run("trace", "nobody", *shuttles.env)
    assert unknown.returncode == 2
    assert "nothing is called 'nobody': give a request id" in " ".join(unknown.stdout.split())


def _training(version):
    return ("--set", f"training.seed={6 + int(version)}")


def _renumbered(point, first, since, candidate):
    """Return a boundary of the control release as the next release has it."""
    effect, _, number = point.rpartition(" ")
    if "champion" in effect:
        return f"{effect} {candidate}"
    return f"{effect} {int(number) - first + since}"


def _await_stopped(pid):
    deadline = time.monotonic() + 60
    while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
        assert time.monotonic() < deadline, "the process did not stop at its boundary"
        time.sleep(0.05)


def _broken(shuttles, root, verdict=Status.PASSED, seed=7):
    """Return the number of a registered version that raises on trips from the south; its own example has none."""
    original = shuttles.bundle(shuttles.champion)
    (root / "broken_trips.py").write_text(BROKEN)
    code = CodePackage.of("broken_trips:build", root)
    inputs = original.transforms.inputs
    bad = inputs.index("city=south")
    width = len(inputs)
    weights = {
        "flat.weight": original.weights["layers.0.weight"][:1],
        "flat.bias": original.weights["layers.0.bias"][:1],
    }
    assert weights["flat.weight"].shape == (1, width)
    bundle = replace(
        original,
        architecture=Entrypoint(kind="entrypoint", entrypoint="broken_trips:build", parameters={"bad": bad}),
        code=code,
        weights=weights,
        example=in_city(original.example, "north"),
        lineage=replace(original.lineage, seed=seed),
    )
    registry = MlflowRegistry(shuttles.where.mlflow_uri)
    found = worst([Finding("demonstration", verdict, "broken on purpose, for a test")])
    pipeline = SimpleNamespace(spec=SimpleNamespace(name=NAME, training=_Nothing()))
    run_id = registry.start(pipeline, bundle.lineage)
    trained = Trained(run_id, shuttles.bundles.put(bundle), {})
    registry.finish(run_id, trained)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own use of pandas
        return registry.register(NAME, trained, bundle, found).version


class _Nothing:
    """No training: the copy is made, not trained."""

    def model_dump(self, mode):
        return {}
