"""Releases under real traffic: a good challenger, a broken one, kills at every line, and two people at once."""

from __future__ import annotations

import os
import signal
import time

import psutil
import pytest
from shuttles import NAME, Shuttles, broken_copy

from raypipe.decision import verify
from raypipe.verdict import Status

pytestmark = pytest.mark.e2e
SHORT = "{steps: [{shadow: {min_pairs: 20}}, {weight: {percent: 50, min_requests: 10}}, {adopt: {}}]}"
LONG = "{steps: [{weight: {percent: 50, min_requests: 1000000}}, {adopt: {}}]}"
LATER = "{steps: [{weight: {percent: 10, min_requests: 5}}, {pause: {}}, {adopt: {}}]}"


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
    version = broken_copy(shuttles, tmp_path)
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
    version = broken_copy(shuttles, tmp_path, verdict=Status.FAILED, seed=99)
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
