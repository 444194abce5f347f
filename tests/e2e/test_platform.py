"""The local platform, driven by its command line and broken by force."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from raypipe.environment import SecretRef, StoreAddress
from raypipe.errors import AccessDenied, Unavailable
from raypipe.local.health import check, require, require_ray, require_storage
from raypipe.local.platform import first_process
from raypipe.local.ports import free
from raypipe.local.processes import alive, marked, platform_id

if TYPE_CHECKING:
    from tests.e2e.conftest import LocalPlatform

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
PARTS = ("storage", "registry", "ray")
DRIVER = """
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from raypipe.adapters.ray_session import connect_ray
from raypipe.config import load_environment
from raypipe.environment import endpoints, home
connect_ray(endpoints(load_environment(sys.argv[1]), home()))
import ray
@ray.remote
def where():
    return ray.util.get_node_ip_address()
print(ray.get(where.remote()))
"""


@pytest.fixture(scope="module")
def own(
    tmp_path_factory: pytest.TempPathFactory, new_platform: Callable[[Path], LocalPlatform]
) -> Iterator[LocalPlatform]:
    """A platform for this module alone, brought up by two commands at once."""
    made = new_platform(tmp_path_factory.mktemp("own"))
    try:
        both = [made.start("up", "--env", str(made.env_file)) for _ in range(2)]
        outputs = [p.communicate(timeout=150) for p in both]
        assert [p.returncode for p in both] == [0, 0], outputs
        said = "".join(out for out, _ in outputs)
        assert said.count("ray is up after") == 1, said
        assert said.count("ray is already up") == 1, said
        yield made
    finally:
        made.down()
        assert not marked(platform_id(made.home))


def kill(own: LocalPlatform, part: str) -> None:
    process = first_process(own.home, part)
    assert process is not None
    assert alive(process)
    psutil.Process(process.pid).send_signal(signal.SIGKILL)


def test_every_part_is_up_on_loopback_only(own: LocalPlatform):
    status = own.cli("status")
    assert status.returncode == 0, status.stdout + status.stderr
    assert "down" not in status.stdout
    assert "all interfaces" not in status.stdout
    carrying = {p.pid for p in marked(platform_id(own.home))}
    leaders = [p for part in PARTS if (p := first_process(own.home, part))]
    assert not [c for p in leaders for c in psutil.Process(p.pid).children(recursive=True) if c.pid not in carrying]
    assert all(h.up for h in check(own.endpoints))


def test_a_second_up_attaches_to_the_same_processes(own: LocalPlatform):
    before = [first_process(own.home, part) for part in PARTS]
    again = own.up()
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("is already up") == 3
    assert [first_process(own.home, part) for part in PARTS] == before


def test_up_with_other_settings_asks_for_down_first(own: LocalPlatform, tmp_path: Path):
    other = tmp_path / "other.yaml"
    other.write_text(own.env_file.read_text().replace("cpus: 4", "cpus: 5"))
    result = own.cli("up", "--env", str(other))
    assert result.returncode == 1
    assert "up with other settings" in result.stderr
    assert "raypipe down" in result.stderr


def test_the_dashboard_refuses_a_request_without_the_token(own: LocalPlatform):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{own.endpoints.dashboard_url}/api/version", timeout=5)
    assert refused.value.code == 401
    refused.value.close()


def test_a_driver_connects_and_runs_a_task_on_loopback(own: LocalPlatform):
    command = [sys.executable, "-c", DRIVER, str(own.env_file)]
    driver = subprocess.run(command, check=False, env=own.variables, capture_output=True, text=True, timeout=60)
    assert driver.stdout.strip() == "127.0.0.1", driver.stderr


def test_wrong_credentials_are_said_to_be_wrong(own: LocalPlatform, tmp_path: Path):
    (tmp_path / "wrong").write_text("not-the-secret")
    wrong = SecretRef(file=str(tmp_path / "wrong"))
    where = own.endpoints
    with pytest.raises(AccessDenied, match="refuses our token"):
        require_ray(replace(where, ray_token=wrong))
    store = where.store
    bad = StoreAddress(store.lake, store.endpoint, store.region, store.access_key, wrong)
    with pytest.raises(AccessDenied, match="refuses these credentials"):
        require_storage(replace(where, store=bad))
    none = StoreAddress("s3://nowhere", store.endpoint, store.region, store.access_key, store.secret_key)
    with pytest.raises(Unavailable, match="bucket 'nowhere' does not exist"):
        require_storage(replace(where, store=none))


def test_existing_parts_are_asked_and_never_started(own: LocalPlatform, tmp_path: Path):
    where, secrets = own.endpoints, own.home / "secrets"
    env_file = tmp_path / "existing.yaml"
    env_file.write_text(
        f"storage: {{kind: s3, lake: 's3://lake', endpoint: '{where.store.endpoint}',"
        f" access_key: {{file: {secrets / 's3_access_key'}}}, secret_key: {{file: {secrets / 's3_secret_key'}}}}}\n"
        f"registry: {{kind: mlflow, uri: '{where.mlflow_uri}'}}\n"
        f"ray: {{kind: cluster, address: '{where.ray_address}', dashboard: '{where.dashboard_url}',"
        f" token: {{file: {secrets / 'ray_token'}}}}}\n"
    )
    attached = replace(own, home=tmp_path / "home", env_file=env_file)
    result = attached.up()
    assert result.returncode == 0, result.stderr
    assert attached.cli("status").returncode == 0
    assert not marked(platform_id(attached.home))
    env_file.write_text(env_file.read_text().replace(where.mlflow_uri, "http://127.0.0.2:9"))
    result = attached.up()
    assert result.returncode == 1
    assert "MLflow does not answer at http://127.0.0.2:9" in result.stderr
    assert attached.down().returncode == 0
    assert own.cli("status").returncode == 0


def test_secrets_are_private_and_in_no_log_and_no_command_line(own: LocalPlatform):
    files = [f for f in (own.home / "secrets").iterdir() if f.is_file()]
    assert {f.name for f in files} == {"ray_token", "s3_access_key", "s3_secret_key"}
    assert (own.home / "secrets").stat().st_mode & 0o777 == 0o700
    assert all(f.stat().st_mode & 0o777 == 0o600 for f in files)
    secrets = [(own.home / "secrets" / name).read_text() for name in ("ray_token", "s3_secret_key")]
    logs = [f for f in [*own.home.rglob("*.log"), *own.home.rglob("*.out"), *own.home.rglob("*.err")] if f.is_file()]
    assert logs
    shown = "".join(f.read_text(errors="replace") for f in logs)
    shown += "".join(" ".join(p.cmdline()) for p in marked(platform_id(own.home)))
    shown += own.cli("status").stdout
    assert not [s for s in secrets if s in shown]


@pytest.mark.parametrize("part", ["storage", "registry"])
def test_up_repairs_a_part_that_was_killed_and_leaves_the_others(own: LocalPlatform, part: str):
    before = {name: first_process(own.home, name) for name in PARTS}
    kill(own, part)
    status = own.cli("status")
    assert status.returncode == 1, status.stdout
    result = own.up()
    assert result.returncode == 0, result.stdout + result.stderr
    after = {name: first_process(own.home, name) for name in PARTS}
    assert [name for name in PARTS if before[name] != after[name]] == [part]
    assert own.cli("status").returncode == 0


def test_after_ray_was_killed_up_ends_its_haproxy_and_starts_a_new_cluster(own: LocalPlatform, tmp_path: Path):
    deploy(own, tmp_path)
    status = own.cli("status").stdout
    open_to_all = [line for line in status.splitlines() if "all interfaces" in line]
    assert all("ServeReplica" in line for line in open_to_all), status
    haproxies = [p for p in marked(platform_id(own.home)) if is_haproxy(p)]
    assert haproxies
    # Whoever of Ray sees the others go ends HAProxy in time: all are halted before one is killed.
    for send in (psutil.Process.suspend, psutil.Process.kill):
        for process in [p for p in marked(platform_id(own.home), "ray") if not is_haproxy(p)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                send(process)
    assert not free(own.spec.serve.port)
    result = own.up()
    assert result.returncode == 0, result.stdout + result.stderr
    assert "left-over processes" in result.stdout
    assert result.stdout.count("is already up") == 2
    assert free(own.spec.serve.port)
    assert not [p for p in haproxies if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def is_haproxy(process: psutil.Process) -> bool:
    try:
        return bool(process.name() == "haproxy")
    except psutil.NoSuchProcess:
        return False


def deploy(own: LocalPlatform, directory: Path) -> None:
    """Put a Serve application behind HAProxy and return when it answers."""
    (directory / "answering.py").write_text(
        "from ray import serve\n"
        "@serve.deployment(ray_actor_options={'num_cpus': 0.1})\n"
        "class Answer:\n"
        "    def __call__(self, request): return 'yes'\n"
        "app = Answer.bind()\n"
    )
    runtime_env = {"env_vars": {"PYTHONPATH": str(directory)}}
    body = {
        "http_options": {"host": "127.0.0.1", "port": own.spec.serve.port},
        "applications": [
            {"name": "answering", "route_prefix": "/", "import_path": "answering:app", "runtime_env": runtime_env}
        ],
    }
    token = (own.home / "secrets" / "ray_token").read_text()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    url = f"{own.endpoints.dashboard_url}/api/serve/applications/"
    urllib.request.urlopen(
        urllib.request.Request(url, data=json.dumps(body).encode(), method="PUT", headers=headers), timeout=90
    ).close()
    deadline = time.monotonic() + 90
    while not _says_yes(own.endpoints.serve_url):
        assert time.monotonic() < deadline


def _says_yes(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.read() == b"yes")
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except OSError:
        return False


def test_a_taken_port_is_named_with_its_holder_and_setting(
    tmp_path: Path, new_platform: Callable[[Path], LocalPlatform]
):
    other = new_platform(tmp_path)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", other.spec.registry.port))
        holder.listen()
        result = other.up()
    assert result.returncode == 1
    assert f"port {other.spec.registry.port} is taken by" in result.stderr
    assert f"(pid {os.getpid()})" in result.stderr
    assert f"`registry.port` in {other.env_file}" in result.stderr
    assert not marked(platform_id(other.home))
    assert other.down().returncode == 0


def test_after_killing_everything_down_leaves_no_process_and_no_port_and_no_stranger_harmed(own: LocalPlatform):
    stranger = subprocess.Popen(
        ["ray::IDLE", "-c", "import time; time.sleep(600)"],
        executable=sys.executable,
        env={**os.environ, "RAYPIPE_PLATFORM_ID": "somebody-else", "RAYPIPE_PART": "ray"},
    )
    try:
        spec = own.spec
        ports = (spec.storage.port, spec.registry.port, spec.ray.port, spec.ray.dashboard_port, spec.ray.client_port)
        tree = [q for p in marked(platform_id(own.home)) for q in (p, *p.children(recursive=True))]
        for part in PARTS:
            kill(own, part)
        result = own.down()
        assert result.returncode == 0, result.stdout + result.stderr
        assert not marked(platform_id(own.home))
        assert not [p for p in tree if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        assert all(free(port) for port in ports)
        assert stranger.poll() is None
        status = own.cli("status")
        assert status.returncode == 1
        with pytest.raises(Unavailable, match="run `raypipe up`"):
            require(own.endpoints)
    finally:
        stranger.kill()
        stranger.wait()
