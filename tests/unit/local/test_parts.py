"""The parts: what is embedded is planned, what exists is not; a secret is in no command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from raypipe.environment import EnvironmentSpec
from raypipe.errors import ConfigError, Unavailable
from raypipe.local import parts
from raypipe.local.parts import checked_extras, embedded_parts

LOCAL = {"storage": {"kind": "embedded"}, "registry": {"kind": "embedded"}, "ray": {"kind": "embedded"}}
EXISTING = {
    "storage": {"kind": "s3", "lake": "s3://l/x", "endpoint": "https://s3.example.org"},
    "registry": {"kind": "mlflow", "uri": "https://mlflow.example.org"},
    "ray": {"kind": "cluster", "address": "auto", "dashboard": "http://127.0.0.1:8265"},
}


KAFKA = {"kafka": {"kind": "embedded", "port": 9092}}


@pytest.fixture
def weed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parts, "weed", lambda: "/bin/weed")


def plan(home: Path, *extras: str, **changes):
    spec = EnvironmentSpec.model_validate({**LOCAL, **changes})
    (home / "sockets").mkdir(exist_ok=True)
    return {p.name: p for p in embedded_parts(spec, home, home / "sockets", lambda name, port: port, extras)}


def test_kafka_is_started_only_where_somebody_asked_for_it_and_on_loopback(tmp_path: Path, weed):
    assert "kafka" not in plan(tmp_path, **KAFKA)
    part = plan(tmp_path, "kafka", **KAFKA)["kafka"]
    assert part.command.count("tcp://127.0.0.1:9092") == 2
    assert [p.setting for p in part.ports] == ["kafka.port"]
    secret = (tmp_path / "secrets" / "s3_secret_key").read_text()
    assert part.env["AWS_SECRET_ACCESS_KEY"] == secret
    assert secret not in " ".join(part.command) + repr(part)


def test_the_embedded_kafka_needs_the_embedded_store(tmp_path: Path):
    with pytest.raises(ConfigError, match="set `storage: {kind: embedded}`"):
        plan(tmp_path, "kafka", storage={"kind": "directory", "lake": "x"}, **KAFKA)


@pytest.mark.parametrize(("extras", "said"), [(["redis"], "no part `redis`"), (["kafka"], "has no `kafka`: add")])
def test_a_part_that_cannot_be_brought_up_is_said(extras, said):
    with pytest.raises(ConfigError, match=said):
        checked_extras(extras, EnvironmentSpec.model_validate(LOCAL))


def test_existing_parts_start_nothing(tmp_path: Path):
    assert plan(tmp_path, **EXISTING) == {}


def test_no_two_embedded_parts_want_the_same_port(tmp_path: Path, weed):
    ports = [port.number for part in plan(tmp_path).values() for port in part.ports]
    assert len(ports) == len(set(ports)) == 15


def test_no_secret_is_in_a_command_or_a_repr(tmp_path: Path, weed):
    planned = plan(tmp_path)
    secrets = [f.read_text() for f in (tmp_path / "secrets").iterdir()]
    shown = " ".join([*(" ".join(p.command) for p in planned.values()), repr(planned)])
    assert len(secrets) == 3
    assert not [s for s in secrets if s in shown]
    assert not [s for s in secrets if s in planned["ray"].env.values()]


def test_every_server_is_told_to_stay_on_loopback(tmp_path: Path, weed):
    planned = plan(tmp_path)
    assert "-ip.bind=127.0.0.1" in planned["storage"].command
    assert "127.0.0.1" in planned["registry"].command
    assert {"--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1"} <= set(planned["ray"].command)
    assert planned["ray"].env["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"


def test_artifacts_go_where_the_lake_is(tmp_path: Path, weed):
    def destination(**changes) -> str:
        command = plan(tmp_path, **changes)["registry"].command
        return command[command.index("--artifacts-destination") + 1]

    assert destination() == "s3://mlflow/"
    assert destination(storage=EXISTING["storage"]) == "s3://l/x/mlflow"
    assert destination(storage={"kind": "directory", "lake": str(tmp_path)}).endswith("/registry/artifacts")


def test_variables_of_another_cluster_do_not_reach_the_parts(tmp_path: Path, weed, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere:6379")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    for part in plan(tmp_path).values():
        assert "elsewhere" not in " ".join(part.env.values())


def test_without_the_stores_program_the_error_says_what_to_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="kind: directory"):
        parts.weed()


def test_the_haproxy_launcher_moves_open_ports_to_loopback_and_closes_the_socket(tmp_path: Path):
    config = tmp_path / "haproxy.cfg"
    config.write_text(
        "    stats socket /s/admin.sock mode 666 level admin\n    bind :9101\n  bind *:8404\n    bind 0.0.0.0:8000\n"
    )
    launcher = tmp_path / "launcher"
    launcher.write_text(parts._HAPROXY.format(binary="/bin/echo"))
    said = subprocess.run(["sh", launcher, "-db", "-f", config], capture_output=True, text=True, check=True)
    assert said.stdout == f"-db -f {config}\n"
    assert config.read_text() == (
        "    stats socket /s/admin.sock mode 600 level admin\n"
        "    bind 127.0.0.1:9101\n  bind 127.0.0.1:8404\n    bind 0.0.0.0:8000\n"
    )


def test_a_job_finds_the_python_of_the_platform_also_where_no_environment_is_active(tmp_path: Path, weed, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin")
    assert plan(tmp_path)["ray"].env["PATH"].split(":") == [str(Path(sys.executable).parent), "/usr/bin"]
