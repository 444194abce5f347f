"""The loop closes: what was answered is logged, judged beside its labels, and starts one retraining that serves."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pyarrow.compute as pc
import pytest
import requests
from mlflow import MlflowClient
from ray.job_submission import JobSubmissionClient
from trips import PER_DAY, make_trips

from raypipe.adapters.lake.bundles import LakeBundles
from raypipe.adapters.lake.catalog import predictions_table
from raypipe.adapters.lake.decisions import Decisions
from raypipe.decision import verify
from raypipe.protocol.request import records_request

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about MLflow's own types, while it is imported
    from raypipe.adapters.registry_mlflow import MlflowRegistry

pytestmark = pytest.mark.e2e
NAME, ASKED = "ferries", 200
EASY = ["monitor.min_rows=100", "monitor.quality.min_labels=100"]
# No model keeps a shift of its scores below this: noise alone is above it.
ALWAYS = [*EASY, "monitor.drift.score.psi=0.000001"]


class Ferries:
    """A pipeline whose champion has answered, and everything that can be asked about its monitor."""

    def __init__(self, platform, store, warm, root):
        self.trips = make_trips(root, store, NAME, days=2)
        self.store, self.warm, self.where = store, warm, platform.endpoints
        self.env = ("--env", str(platform.env_file))
        made = warm.run("run", str(self.trips.file), *self.env)
        assert made.returncode == 0, made.stdout
        token = (platform.home / "secrets" / "ray_token").read_text()
        self.jobs_api = JobSubmissionClient(self.where.dashboard_url, headers={"Authorization": f"Bearer {token}"})

    def ask(self, count):
        """Ask about the example's rows in the names of trips that ended; return when the log has every answer."""
        champion = MlflowRegistry(self.where.mlflow_uri).champion(NAME)
        bundle = LakeBundles(self.store).get(champion.digest)
        url = f"{self.where.serve_url}/endpoints/{NAME}/invocations"
        with requests.Session() as session:
            for number in range(count):
                row = bundle.example.slice(number % bundle.example.num_rows, 1)
                headers = {"content-type": "application/json", "x-request-id": f"t{number:06d}"}
                answer = session.post(url, data=records_request(row, bundle.columns), headers=headers, timeout=30)
                assert answer.status_code == 200, answer.text
        deadline = time.monotonic() + 60
        while self.logged().num_rows < count:
            assert time.monotonic() < deadline, f"{self.logged().num_rows} of {count} answers were logged"
            time.sleep(0.2)

    def logged(self):
        return predictions_table(self.store).read(where=pc.field("model") == NAME)

    def look(self, *overrides, stop_at=None):
        sets = [part for o in overrides for part in ("--set", o)]
        return self.warm.run("monitor", str(self.trips.file), "--once", *self.env, *sets, stop_at=stop_at)

    @property
    def decisions(self):
        return Decisions(self.store).stream(f"monitor/{NAME}")

    @property
    def words(self):
        return [d.what for d in self.decisions]

    def jobs(self):
        return {j.submission_id: str(j.status) for j in self.jobs_api.list_jobs() if NAME in (j.submission_id or "")}

    @property
    def champion(self):
        return MlflowClient(self.where.mlflow_uri).get_model_version_by_alias(NAME, "champion").version


@pytest.fixture(scope="module")
def ferries(platform, store, warm, tmp_path_factory):
    made = Ferries(platform, store, warm, tmp_path_factory.mktemp("ferries"))
    made.ask(ASKED)
    return made


def test_every_answer_is_one_row_of_the_log_with_its_inputs_and_who_answered(ferries):
    rows = ferries.logged()
    assert sorted(rows.column("request_id").to_pylist()) == [f"t{n:06d}" for n in range(ASKED)]
    assert set(rows.column("answered_by").to_pylist()) == {"champion"}
    assert set(rows.column("version").to_pylist()) == {"1"}
    assert set(rows.column("epoch").to_pylist()) == {3}
    assert all('"distance":' in text for text in rows.column("features").to_pylist())
    assert np.ptp(rows.column("score").to_numpy()) > 0.01


def test_too_few_predictions_are_no_evidence_and_hold(ferries):
    before = ferries.words
    seen = ferries.look("monitor.min_rows=100000")
    assert seen.returncode == 0, seen.stdout
    assert "INSUFFICIENT" in seen.stdout
    assert "at least 100,000 tell something" in seen.stdout
    assert ferries.words == [*before, "hold"]
    assert ferries.jobs() == {}


def test_the_look_joins_the_labels_that_are_known(ferries):
    seen = ferries.look(*EASY, "triggers.any_of=[{kind: quality}]", "monitor.quality.drop=0.9")
    assert seen.returncode == 0, seen.stdout
    assert f"{ASKED} predictions" in seen.stdout
    assert f"{ASKED} with a label" in seen.stdout, f"{2 * PER_DAY} trips ended"
    assert "hold" in seen.stdout


@pytest.mark.timeout(400)
def test_killed_at_every_boundary_it_fires_once_and_the_retraining_serves(ferries):
    ferries.trips.land(2)
    before = ferries.words
    generation = len(before) + 1
    job = f"retrain-{NAME}-{generation}"
    for point in (
        f"before commit decisions: monitor/{NAME} {generation}",
        f"after commit decisions: monitor/{NAME} {generation}",
        f"before submit job: {job}",
        f"after submit job: {job}",
    ):
        killed = ferries.look(*ALWAYS, stop_at=point)
        assert killed.returncode is None, f"no look stopped at {point!r}: {killed.stdout}"
        assert ferries.words == [*before, "fire"][: len(before) + (not point.startswith("before commit"))]
    seen = ferries.look(*ALWAYS)
    assert seen.returncode == 0, seen.stdout
    assert ferries.words == [*before, "fire", "hold"]
    assert any(f"but {why}" in ferries.decisions[-1].why for why in (f"the retraining {job}", "the last retraining"))
    assert list(ferries.jobs()) == [job]
    verify(ferries.decisions)

    deadline = time.monotonic() + 180
    while (status := ferries.jobs()[job]) not in ("SUCCEEDED", "FAILED", "STOPPED"):
        assert time.monotonic() < deadline, f"the retraining is {status}"
        time.sleep(0.5)
    assert status == "SUCCEEDED", ferries.jobs_api.get_job_logs(job)[-3000:]
    assert ferries.champion == "2"
