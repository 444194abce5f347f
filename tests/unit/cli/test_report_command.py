"""The page is fetched to where a browser can open it; the newest by default."""

import socket
from pathlib import Path

import pytest

from raypipe.adapters.ingest_report import report_uri
from raypipe.adapters.lake.store import Store
from raypipe.cli.metrics import metrics
from raypipe.cli.report import report
from raypipe.environment import StoreAddress
from raypipe.errors import ConfigError

ENVIRONMENT = """
storage: {kind: directory, lake: LAKE}
registry: {kind: mlflow, uri: "sqlite://"}
ray: {kind: cluster, address: auto, dashboard: "http://127.0.0.1:1"}
"""


@pytest.fixture
def env(tmp_path, monkeypatch):
    monkeypatch.setenv("RAYPIPE_HOME", str(tmp_path / "home"))
    file = tmp_path / "env.yaml"
    file.write_text(ENVIRONMENT.replace("LAKE", str(tmp_path / "lake")))
    store = Store(StoreAddress(lake=str(tmp_path / "lake")))
    for number in (9, 10):
        store.write(report_uri(store, "trips", number), f"page {number}".encode())
    return str(file)


@pytest.mark.parametrize(("asked", "text"), [(None, "page 10"), (9, "page 9")])
def test_a_report_is_fetched_and_its_place_printed(env, asked, text, capsys):
    report("trips", asked, env, open_=False)
    assert Path(capsys.readouterr().out.strip()).read_text() == text


def test_a_report_that_does_not_exist_is_said_with_those_that_do(env):
    with pytest.raises(ConfigError, match="no report of generation 3 of `trips`: there are those of 9, 10"):
        report("trips", 3, env, open_=False)
    with pytest.raises(ConfigError, match="generation 0 of `weather`: there is none"):
        report("weather", None, env, open_=False)


def test_a_port_that_is_taken_is_said_with_what_to_do(env):
    message = "Choose another with --port"
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match=message):
        metrics(port=taken.getsockname()[1], env=env)


def test_metrics_are_written_as_one_file_for_a_collector(env, tmp_path):
    file = tmp_path / "ingest.prom"
    metrics(textfile=file, env=env)
    assert "# TYPE raypipe_ingest_halted gauge" in file.read_text()
