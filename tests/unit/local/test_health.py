"""Health: what does not answer is said in one sentence; nothing that is absent counts as up."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from raypipe.adapters.ray_session import ray_environment
from raypipe.environment import Endpoints, KafkaAddress, SecretRef, StoreAddress
from raypipe.errors import Unavailable
from raypipe.local.health import check, require, require_kafka
from raypipe.local.ports import any_free


@pytest.fixture
def nothing(tmp_path: Path) -> Endpoints:
    port = any_free(0)
    return Endpoints(
        store=StoreAddress("s3://lake", f"http://127.0.0.1:{port}"),
        mlflow_uri=f"http://127.0.0.1:{port}",
        ray_address=f"127.0.0.1:{port}",
        dashboard_url=f"http://127.0.0.1:{port}",
        serve_host="127.0.0.1",
        serve_port=port,
        serve_url=f"http://127.0.0.1:{port}",
        ray_token=SecretRef(file=str(tmp_path / "token")),
    )


def test_nothing_up_means_every_part_down_with_the_command_that_helps(nothing: Endpoints):
    found = check(nothing)
    assert [(h.part, h.up) for h in found] == [("storage", False), ("registry", False), ("ray", False)]
    assert all("run `raypipe up`" in h.problem.message for h in found if h.problem)


def test_flows_are_told_all_parts_that_are_down_at_once(nothing: Endpoints):
    with pytest.raises(Unavailable, match="storage and registry and ray cannot be used"):
        require(nothing)


def test_kafka_is_asked_where_it_is_a_part_and_must_speak_its_protocol(nothing: Endpoints):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        broker = replace(nothing, kafka=KafkaAddress(f"127.0.0.1:{port}"))
        assert [h.part for h in check(broker)] == ["storage", "registry", "ray"]

        def answer() -> None:
            connection, _ = mute.accept()  # only whether somebody listens
            connection.close()
            connection, _ = mute.accept()
            connection.recv(100)
            connection.sendall(b"HTTP/1.1 400 Bad Request")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(Unavailable, match=f"Kafka at 127.0.0.1:{port} does not speak .*raypipe up"):
            require_kafka(broker)
        thread.join()
    (found,) = [h for h in check(broker, kafka=True) if h.part == "kafka"]
    assert "Kafka does not answer" in str(found.problem)


def test_a_directory_is_up_when_it_can_be_written(nothing: Endpoints, tmp_path: Path):
    lake = replace(nothing, store=StoreAddress(str(tmp_path)))
    assert check(lake)[0].up
    assert not check(replace(nothing, store=StoreAddress(str(tmp_path / "absent"))))[0].up


def test_a_far_address_is_not_answered_with_the_local_command(nothing: Endpoints):
    far = replace(nothing, mlflow_uri="http://127.0.0.2:1")
    assert "is it running" in str(check(far)[1].problem)


def test_a_token_in_a_file_stays_in_the_file(nothing: Endpoints, tmp_path: Path):
    (tmp_path / "token").write_text("secret")
    env = ray_environment(nothing)
    assert env["RAY_AUTH_TOKEN_PATH"] == str(tmp_path / "token")
    assert "secret" not in env.values()


def test_a_driver_without_a_cluster_is_refused_quickly(nothing: Endpoints, tmp_path: Path):
    code = (
        "import pickle, sys; from raypipe.adapters.ray_session import connect_ray\n"
        "from raypipe.errors import Unavailable\n"
        "try: connect_ray(pickle.loads(sys.stdin.buffer.read()))\n"
        "except Unavailable as error: print(error)\n"
    )
    said = subprocess.run(
        check=False,
        args=[sys.executable, "-c", code],
        input=pickle.dumps(nothing),
        capture_output=True,
        timeout=60,
        env=dict(os.environ),
    )
    assert b"does not answer" in said.stdout, said.stderr
    assert b"run `raypipe up`" in said.stdout
