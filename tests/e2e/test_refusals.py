"""What goes wrong outside is one sentence and the right exit code; nothing is lost, and a good run goes on."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections import Counter
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from deltalake import DeltaTable
from outage import Outage
from trips import PER_DAY, make_trips

pytestmark = pytest.mark.e2e
OUTAGES = {
    "deduplicate": rb"GET /lake/outage/events/\S+\.parquet",
    "build features": rb"(GET|PUT) /lake/outage/examples/",
    "keep a checkpoint": rb"PUT /lake/outage/checkpoints/",
}


def unused_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def trips(store, tmp_path_factory):
    return make_trips(tmp_path_factory.mktemp("errors"), store, "errands", days=2)


def one_sentence(result, code):
    assert result.returncode == code, result.stdout
    lines = result.stdout.splitlines()
    assert len(lines) == 1, result.stdout
    return lines[0]


def test_a_wrong_pipeline_file_is_said_with_file_and_line(platform, trips, tmp_path):
    wrong = tmp_path / "wrong.yaml"
    text = trips.file.read_text().replace("epochs: 2", "epoch: 2")
    wrong.write_text(text)
    line = 1 + next(i for i, row in enumerate(text.splitlines()) if "epoch: 2" in row)
    result = platform.cli("run", str(wrong), "--env", str(platform.env_file))
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == f"{wrong}:{line}: unknown key `epoch`: did you mean `epochs`?\n"


def test_an_unknown_environment_is_named(warm, trips):
    said = one_sentence(warm.run("run", str(trips.file), "--env", "moon"), 2)
    assert said.startswith("configs/env/moon.yaml: ")
    assert "local" in said


BROKEN = {
    "missing bucket": ({"lake": "s3://nowhere/x"}, 1, "the bucket 'nowhere' does not exist"),
    "wrong key": ({"secret_key": "{env: HOME}"}, 1, "refuses these credentials"),
    "key not set": ({"secret_key": "{env: RAYPIPE_NO_SUCH}"}, 2, "variable RAYPIPE_NO_SUCH is not set"),
    "store down": ({"s3": "http://127.0.0.1:UNUSED"}, 1, "object store does not answer at 127.0.0.1:UNUSED"),
    "MLflow down": ({"mlflow": "http://127.0.0.1:UNUSED"}, 1, "MLflow does not answer at http://127.0.0.1:UNUSED"),
    "Ray down": ({"ray": "127.0.0.1:UNUSED"}, 1, "Ray does not answer at 127.0.0.1:UNUSED"),
    "dashboard down": ({"dashboard": "http://127.0.0.1:UNUSED"}, 1, "Ray does not answer at http://127.0.0.1:UNUSED"),
    "wrong token": ({"token": "{env: HOME}"}, 1, "refuses our token (HTTP 403)"),
    "token file gone": ({"token": "{file: /nowhere/token}"}, 2, "the secret file /nowhere/token cannot be read"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_part_that_cannot_be_used_is_one_sentence(warm, existing, trips, tmp_path, case):
    broken, code, expected = BROKEN[case]
    port = str(unused_port())
    changed = replace(existing, **{k: v.replace("UNUSED", port) for k, v in broken.items()})
    began = time.monotonic()
    result = warm.run("run", str(trips.file), "--env", str(changed.write(tmp_path / "env.yaml")))
    assert expected.replace("UNUSED", port) in one_sentence(result, code)
    assert time.monotonic() - began < 30


def test_a_source_where_nothing_has_landed_is_named_with_its_feed(warm, existing, trips, tmp_path):
    env = existing.write(tmp_path / "env.yaml")
    nowhere = "sources.errands_trips.feeds=[{kind: objects, uri: 's3://landing/nothing/', format: csv}]"
    said = one_sentence(warm.run("run", str(trips.file), "--env", str(env), "--set", nowhere), 1)
    assert "source `errands_trips` is empty: nothing has landed under s3://landing/nothing/" in said


@pytest.fixture
def outage(existing):
    parts = urlsplit(existing.s3)
    made = Outage((str(parts.hostname), int(parts.port or 80)))
    yield made
    made.close()


@pytest.mark.timeout(400)
def test_a_store_that_goes_away_in_the_middle_costs_no_row(platform, warm, existing, store, outage, tmp_path):
    trips = make_trips(tmp_path, store, "outage", days=2)
    attached = replace(existing, lake="s3://lake/outage", s3=f"http://127.0.0.1:{outage.port}")
    arguments = ["run", str(trips.file), "--env", str(attached.write(tmp_path / "env.yaml"))]

    process = platform.start(*arguments, RAYPIPE_STOP_AT="after commit manifests: ingest/outage_ends 1")
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    assert process.poll() is None, process.communicate()
    outage.away.set()
    os.kill(process.pid, signal.SIGCONT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1, out + err
    assert f"the object store at http://127.0.0.1:{outage.port} does not answer" in err.splitlines()[-1]

    for stage, request in OUTAGES.items():
        outage.expect(request)
        result = warm.run(*arguments)
        assert outage.away.is_set(), f"{stage}: no such request\n{result.stdout}"
        assert result.returncode == 1, f"{stage}: {result.stdout[-3000:]}"
        assert "Traceback" not in result.stdout, f"{stage}: {result.stdout[-3000:]}"
        assert "run again" in result.stdout.splitlines()[-1], f"{stage}: {result.stdout[-3000:]}"

    outage.back()
    # The token from a variable, and a home where nothing is: existing parts need no more than their file says.
    token = (platform.home / "secrets" / "ray_token").read_text()
    env = replace(attached, token="{env: OUR_RAY_TOKEN}").write(tmp_path / "token.yaml")
    variables = {"OUR_RAY_TOKEN": token, "RAYPIPE_HOME": str(tmp_path / "no-home")}
    process = platform.start("run", str(trips.file), "--env", str(env), **variables)
    out, err = process.communicate(timeout=150)
    assert process.returncode == 0, out + err
    assert "version 1: " in out
    assert token not in out + err
    options = store.delta_options()
    for source in ("trips", "ends"):
        table = DeltaTable(f"s3://lake/outage/events/outage_{source}", storage_options=options)
        found = Counter(table.to_pyarrow_table(columns=["trip"]).column("trip").to_pylist())
        assert found == Counter(f"t{n:06d}" for n in range(2 * PER_DAY))
