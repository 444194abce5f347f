"""`raypipe run` on the local platform: what a user sees, what other engines read, and what answers."""

from __future__ import annotations

import json
import threading
import warnings
from collections import Counter
from pathlib import Path

import duckdb
import mlflow
import numpy as np
import polars as pl
import pytest
import requests
from rides import DAYS, NAME, Rides
from trips import PER_DAY

from raypipe.protocol import oip

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about MLflow's own types, while it is imported
    import mlflow.pyfunc
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

pytestmark = pytest.mark.e2e
SOURCES = ("trips", "ends")
ROWS, ACCEPTED, LETTERS, DUPLICATES = DAYS * (PER_DAY + 2) + 3 * (DAYS - 1), DAYS * PER_DAY, DAYS * 2, 3 * (DAYS - 1)
ENTRYPOINT = "{kind: entrypoint, entrypoint: 'rides_model.net:build', epochs: 2, batch_size: 64, learning_rate: 0.02}"


@pytest.fixture(scope="module")
def rides(platform, store, tmp_path_factory):
    made = Rides(platform, store, tmp_path_factory.mktemp("rides"))
    mlflow.set_tracking_uri(made.where.mlflow_uri)
    return made


@pytest.fixture(scope="module")
def first(platform, rides):
    """The first run, by the real command line."""
    result = platform.cli(*rides.arguments())
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def test_the_table_shows_for_each_source_that_rows_in_are_accepted_plus_letters_plus_duplicates(first):
    lines = [line.replace("│", " ").split() for line in first.stdout.splitlines()]
    counts = [str(n) for n in (ROWS, ACCEPTED, LETTERS, DUPLICATES)]
    assert ROWS == ACCEPTED + LETTERS + DUPLICATES
    assert [f"{NAME}_trips", *counts, "QUARANTINED"] in lines
    assert [f"{NAME}_ends", *counts, "QUARANTINED"] in lines
    assert f"{NAME}_trips: {LETTERS} x type(started_at)" in first.stdout
    assert "version 1: " in first.stdout
    assert f"/endpoints/{NAME}/invocations" in first.stdout


@pytest.mark.usefixtures("first")
def test_other_engines_read_each_accepted_event_once(rides):
    expected = Counter(f"t{n:06d}" for n in range(ACCEPTED))
    table = rides.table(f"events/{NAME}_trips")
    by_polars = pl.scan_delta(table.table_uri, storage_options=rides.store.delta_options()).select("trip").collect()
    assert Counter(by_polars["trip"]) == expected
    ends = rides.table(f"events/{NAME}_ends").to_pyarrow_dataset()  # noqa: F841  DuckDB finds it by name
    counted = duckdb.sql("select count(*), count(distinct trip), count(minutes) from ends").fetchall()
    assert counted == [(ACCEPTED, ACCEPTED, ACCEPTED)]


@pytest.mark.usefixtures("first")
def test_dead_letters_carry_the_record_its_reasons_and_its_place(rides):
    letters = rides.letters()
    assert Counter(r["source"] for r in letters) == {f"{NAME}_trips": LETTERS, f"{NAME}_ends": LETTERS}
    raw = {"trips": "broken", "ends": '{"trip":'}
    for letter in letters:
        source = letter["source"].removeprefix(f"{NAME}_")
        assert letter["source_position"].startswith(f"{rides.trips.landing}/{source}/00")
        assert letter["source_position"].partition("#")[2].isdigit()
        assert letter["reasons"] == [{"trips": "type(started_at)", "ends": "malformed(json)"}[source]]
        assert raw[source] in letter["raw"]


@pytest.mark.usefixtures("first")
def test_the_registry_says_where_the_version_comes_from(rides):
    assert list(rides.versions()) == ["1"]
    version = rides.versions()["1"]
    assert rides.champion == "1"
    assert version.tags["raypipe.verdict"] == "PASSED"
    (run,) = rides.runs
    tags = run.data.tags
    for table in (f"events/{NAME}_trips", f"events/{NAME}_ends", f"examples/{NAME}"):
        assert f"version {rides.table(table).version()}, digest " in tags[f"raypipe.data.{table}"]
    assert tags[f"raypipe.contract.{NAME}_trips"].startswith("1.0.0, digest ")
    assert all(len(tags[f"raypipe.{kind}_digest"]) == 64 for kind in ("code", "config", "inputs"))
    assert tags["raypipe.environment.torch"].startswith("2.13")
    assert run.data.params["training.seed"] == "7"
    assert run.info.status == "FINISHED"
    model = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    assert model.metadata.signature.inputs.input_names() == ["city", "distance", "town__minutes_1d"]
    assert len(model.input_example) > 0


@pytest.mark.usefixtures("first")
def test_mlflow_and_the_endpoint_give_the_same_scores(rides):
    model = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    expected = model.predict(model.input_example)
    answer = rides.infer()
    np.testing.assert_allclose(answer["outputs"][0]["data"], expected, atol=1e-6)
    host, port = rides.where.serve_host, rides.where.serve_port
    ScoringServerClient(host, port).ping()  # raises unless the answer is 200
    # The endpoint is shared with other models, so the client is told which.
    client = ScoringServerClient(host, f"{port}/endpoints/{NAME}")
    np.testing.assert_allclose(client.invoke(model.input_example).get_predictions()[0], expected, atol=1e-6)
    assert np.ptp(expected) > 0.01


@pytest.mark.usefixtures("first")
def test_no_artifact_is_a_pickle(rides, tmp_path):
    root = Path(mlflow.artifacts.download_artifacts(f"models:/{NAME}@champion", dst_path=str(tmp_path)))
    files = {f.relative_to(root).as_posix(): f.read_bytes() for f in root.rglob("*") if f.is_file()}
    stored = {o.uri: rides.store.read(o.uri) for o in rides.store.listing(rides.store.lake("bundles") + "/")}
    assert any(name.endswith("weights.safetensors") for name in files)
    assert stored
    for name, data in (files | stored).items():
        assert not name.endswith((".pkl", ".pickle", ".pt", ".pth", ".joblib")), name
        # Protocol 2 and later begin so; a zip may hold one.
        assert not data.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK")), name


@pytest.mark.usefixtures("first")
def test_answers_name_version_and_epoch(rides):
    generation = len(rides.words(f"release/{NAME}"))
    answer = rides.infer()
    assert (answer["model_name"], answer["model_version"]) == (NAME, "1")
    assert answer["parameters"] == {"epoch": generation, "arm": "champion"}
    assert requests.get(f"{rides.where.serve_url}/v2/health/ready").status_code == 200
    assert requests.get(rides.url()).json()["versions"] == ["1"]
    assert requests.get(f"{rides.url()}/ready").status_code == 200
    assert rides.words(f"release/{NAME}") == ["plan", "adopt", "succeed"]


@pytest.mark.usefixtures("first")
def test_run_again_with_nothing_new_decides_nothing(rides, warm):
    before = sorted(d.hash for s in rides.decisions.streams() for d in rides.decisions.stream(s))
    again = warm.run(*rides.arguments())
    assert again.returncode == 0, again.stdout
    assert sorted(d.hash for s in rides.decisions.streams() for d in rides.decisions.stream(s)) == before
    assert list(rides.versions()) == ["1"]
    assert len(rides.runs) == 1
    assert [line.split()[0] for line in again.stdout.splitlines() if line.rstrip().endswith("NOT_APPLICABLE")] == [
        f"{NAME}_trips",
        f"{NAME}_ends",
    ]


@pytest.mark.usefixtures("first")
def test_another_day_gives_a_version_that_takes_over_without_a_failed_request(rides, warm):
    rides.trips.land(DAYS)
    bundle = rides.bundle()
    body = oip.infer_body(bundle.example, bundle.columns)
    seen: list[tuple[int, str, int]] = []
    stop = threading.Event()

    def drive():
        with requests.Session() as session:
            while not stop.is_set():
                answer = session.post(f"{rides.url()}/infer", data=body, timeout=30)
                said = answer.json()
                epoch = said.get("parameters", {}).get("epoch", 0)
                seen.append((answer.status_code, said.get("model_version", answer.text), epoch))
                stop.wait(0.02)  # the two cores are the run's

    driver = threading.Thread(target=drive)
    driver.start()
    try:
        result = warm.run(*rides.arguments())
        told = len(seen)
    finally:
        stop.set()
        driver.join(30)
    assert result.returncode == 0, result.stdout
    assert told > 10
    assert {status for status, _, _ in seen} == {200}, Counter(seen)
    assert [version for _, version, _ in seen] == sorted(version for _, version, _ in seen)
    assert [epoch for _, _, epoch in seen] == sorted(epoch for _, _, epoch in seen)
    assert seen[0] == (200, "1", 3)
    assert rides.infer()["model_version"] == "2"
    assert rides.infer()["parameters"]["epoch"] == 6
    assert rides.champion == "2"
    old = rides.infer(version="1")
    assert (old["model_version"], old["parameters"]["arm"]) == ("1", "pinned")


@pytest.mark.usefixtures("first")
def test_a_refused_model_is_registered_as_failed_and_the_champion_goes_on(rides, warm):
    champion, decided = rides.champion, rides.words(f"release/{NAME}")
    before = set(rides.versions())
    result = warm.run(*rides.arguments("validation.absolute.auc=>= 0.99999", "training.seed=8"))
    assert result.returncode == 3, result.stdout
    (made,) = set(rides.versions()) - before
    assert rides.versions()[made].tags["raypipe.verdict"] == "FAILED"
    assert "at least 0.99999 is required" in result.stdout
    assert rides.champion == champion
    assert rides.words(f"release/{NAME}") == decided
    assert rides.infer()["model_version"] == champion
    assert requests.post(f"{rides.url(made)}/infer", data=b"{}").status_code == 404


@pytest.mark.usefixtures("first")
def test_a_halted_gate_commits_no_row_until_the_limit_is_raised(rides, warm):
    limits = [f"sources.{NAME}_{source}.halt_when.dead_letter_rate=0.6" for source in ("trips", "ends")]
    rides.trips.land(DAYS + 1, replayed=0, broken=PER_DAY)
    before, letters, champion = rides.events("trips").num_rows, len(rides.letters()), rides.champion
    stream = f"ingest/{NAME}_trips"
    result = warm.run(*rides.arguments())
    assert result.returncode == 3, result.stdout
    assert f"50 % of the rows of `{NAME}_trips` were refused ({PER_DAY} of {2 * PER_DAY}" in result.stdout
    assert rides.words(stream)[-1] == "halt"
    generation = json.loads(rides.decisions.stream(stream)[-1].evidence)["manifest"]
    assert f"--accept {generation} --reason TEXT" in " ".join(result.stdout.split()), "it says how it is released"
    assert (rides.events("trips").num_rows, len(rides.letters()), rides.champion) == (before, letters, champion)
    manifests = rides.table("manifests").to_pyarrow_table().num_rows

    again = warm.run(*rides.arguments(*limits, command="ingest"))
    assert again.returncode == 0, again.stdout
    assert "going on with manifest" in again.stdout
    assert rides.table("manifests").to_pyarrow_table().num_rows == manifests
    assert rides.words(stream)[-2:] == ["halt", "accept"]
    assert rides.events("trips").num_rows == before + PER_DAY
    assert len(rides.letters()) == letters + 2 * PER_DAY


@pytest.mark.usefixtures("first")
def test_a_halted_generation_waits_unread_until_a_person_lets_it_in(rides, warm):
    rides.trips.land(DAYS + 2, replayed=0, broken=PER_DAY)
    assert warm.run(*rides.arguments()).returncode == 3
    before, stream = rides.events("trips").num_rows, f"ingest/{NAME}_trips"
    (halted,) = {json.loads(rides.decisions.stream(f"ingest/{NAME}_{s}")[-1].evidence)["manifest"] for s in SOURCES}
    ingest = ["ingest", str(rides.trips.file), "--env", rides.env]
    waiting = warm.run(*ingest)
    assert waiting.returncode == 3, waiting.stdout
    assert "is still halted and was not read" in waiting.stdout
    assert rides.words(stream)[-1] == "halt"

    vague = warm.run(*ingest, "--accept", str(halted), "--reason", "known outage")
    assert vague.returncode == 2
    assert f"several sources are halted ({NAME}_ends, {NAME}_trips): say which with --source" in vague.stdout
    for source, left in ((f"{NAME}_trips", 3), (f"{NAME}_ends", 0)):
        accepted = warm.run(*ingest, "--source", source, "--accept", str(halted), "--reason", "known outage")
        assert accepted.returncode == left, accepted.stdout
    assert rides.words(stream)[-2:] == ["accept_halted", "accept"]
    assert "known outage" in rides.decisions.stream(stream)[-1].why
    assert rides.events("trips").num_rows == before + PER_DAY
    assert warm.run(*ingest).returncode == 0


@pytest.mark.usefixtures("first")
def test_a_search_that_was_killed_goes_on_with_the_trials_that_are_missing(rides, warm):
    space = (
        "{space: {learning_rate: {choice: [0.01, 0.02]}}, trials: 2, concurrent: 1, scheduler: none, on_retrain: full}"
    )
    arguments = rides.arguments(f"search={space}", "training.seed=11")
    killed = warm.run(*arguments, stop_at="after record trial")
    assert killed.returncode is None, killed.stdout
    result = warm.run(*arguments)
    assert result.returncode == 0, result.stdout
    assert "found 1 of 2 trials, run earlier on the same inputs" in result.stdout
    assert "trials: 2 finished" in result.stdout
    trials = [r for r in rides.runs if "raypipe.trial" in r.data.tags]
    assert sorted(json.loads(t.data.tags["raypipe.trial"])["number"] for t in trials) == [1, 2]
    parents = {t.data.tags["mlflow.parentRunId"] for t in trials}
    assert parents <= {r.info.run_id for r in rides.runs}
    assert all(len(rides.mlflow.get_metric_history(t.info.run_id, "auc")) == 2 for t in trials), "one for each epoch"


@pytest.mark.usefixtures("first")
def test_the_users_own_model_reaches_training_gateway_and_mlflow_without_being_installed(rides, warm):
    package = rides.trips.file.parent / "rides_model"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "blocks.py").write_text(
        "from torch import nn\ndef hidden(n, width):\n    return nn.Sequential(nn.Linear(n, width), nn.Tanh())\n"
    )
    (package / "net.py").write_text(
        "from torch import nn\nfrom .blocks import hidden\n"
        "def build(inputs):\n"
        "    return nn.Sequential(hidden(inputs, 8), nn.Linear(8, 1), nn.Flatten(0))\n"
    )
    result = warm.run(*rides.arguments(f"training.model={ENTRYPOINT}"))
    assert result.returncode == 0, result.stdout
    answer = rides.infer()
    assert answer["model_version"] == rides.champion
    model = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    np.testing.assert_allclose(model.predict(model.input_example), answer["outputs"][0]["data"], atol=1e-6)
    bundle = rides.bundle()
    assert bundle.code is not None
    assert [path for path, _ in bundle.code.files] == [f"rides_model/{f}.py" for f in ("__init__", "blocks", "net")]
