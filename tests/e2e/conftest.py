"""The local platform for end-to-end tests: a home of its own, ports that nobody else has."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from raypipe.adapters.lake.store import Store
from raypipe.config import load_environment
from raypipe.environment import Endpoints, EnvironmentSpec, endpoints


@dataclass(frozen=True)
class LocalPlatform:
    """A platform that is driven as a user would drive it: by the command line."""

    home: Path
    env_file: Path

    @property
    def spec(self) -> EnvironmentSpec:
        return load_environment(str(self.env_file))

    @property
    def endpoints(self) -> Endpoints:
        return endpoints(self.spec, self.home)

    @property
    def variables(self) -> dict[str, str]:
        """Variables for a child process that uses this platform."""
        return {**os.environ, "RAYPIPE_HOME": str(self.home)}

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", "from raypipe.cli import main; main()", *arguments]
        env = self.variables | variables
        return subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path.cwd()
        )

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        try:
            out, err = process.communicate(timeout=150)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"{arguments} took more than 150 s:\n{out}\n{err}") from None
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def up(self) -> subprocess.CompletedProcess[str]:
        return self.cli("up", "--env", str(self.env_file))

    def down(self) -> subprocess.CompletedProcess[str]:
        return self.cli("down")


@dataclass(frozen=True)
class Existing:
    """An environment file that attaches to the parts of a platform, any of which can be replaced by a wrong one."""

    lake: str
    s3: str
    access_key: str
    secret_key: str
    mlflow: str
    ray: str
    dashboard: str
    token: str
    serve_port: int

    @staticmethod
    def of(platform: LocalPlatform, lake: str = "s3://lake") -> Existing:
        where, secrets = platform.endpoints, platform.home / "secrets"
        named = {name: f"{{file: {secrets / name}}}" for name in ("s3_access_key", "s3_secret_key", "ray_token")}
        return Existing(
            lake=lake,
            s3=str(where.store.endpoint),
            access_key=named["s3_access_key"],
            secret_key=named["s3_secret_key"],
            mlflow=where.mlflow_uri,
            ray=where.ray_address,
            dashboard=where.dashboard_url,
            token=named["ray_token"],
            serve_port=where.serve_port,
        )

    def write(self, file: Path) -> Path:
        file.write_text(
            f"storage: {{kind: s3, lake: '{self.lake}', endpoint: '{self.s3}',"
            f" access_key: {self.access_key}, secret_key: {self.secret_key}}}\n"
            f"registry: {{kind: mlflow, uri: '{self.mlflow}'}}\n"
            f"ray: {{kind: cluster, address: '{self.ray}', dashboard: '{self.dashboard}', token: {self.token}}}\n"
            f"serve: {{host: 127.0.0.1, port: {self.serve_port}}}\n"
        )
        return file


class WarmCommandLine:
    """The command line in forked children of one process that has imported everything: seconds less for each run."""

    def __init__(self, platform: LocalPlatform, root: Path) -> None:
        self._output, self._boundaries = root / "output.txt", root / "boundaries.txt"
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("killable.py"), str(platform.env_file), str(self._output)],
            env=platform.variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._answer() == "ready\n"

    def run(self, *arguments: str, stop_at: str | None = None) -> subprocess.CompletedProcess[str]:
        """Return how a command ended, with stdout and stderr joined; killed at a boundary, its code is None."""
        self._output.write_text("")
        self._boundaries.write_text("")
        request = {"arguments": [str(a) for a in arguments], "stop_at": stop_at, "boundaries": str(self._boundaries)}
        assert self._process.stdin
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        code = json.loads(self._answer())["code"]
        return subprocess.CompletedProcess(arguments, code, self._output.read_text())

    def reached(self) -> list[str]:
        """Return the boundaries that the last command came to, each once, in order."""
        return list(dict.fromkeys(self._boundaries.read_text().splitlines()))

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        assert self._process.wait(10) == 0
        self._process.stdout.close()

    def _answer(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()


def free_block(length: int) -> int:
    """Return the first of `length` neighbouring free ports whose ports + 10000 are free too."""
    begin = 21000 + os.getpid() % 500 * 10
    for first in (*range(begin, 30000, length), *range(21000, begin, length)):
        ports = [*range(first, first + length), *range(first + 10_000, first + 10_000 + length)]
        if all(_free(port) for port in ports):
            return first
    raise AssertionError("no free block of ports below 30000")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def make_platform(root: Path) -> LocalPlatform:
    """Return a platform that is not up yet."""
    first = free_block(20)
    env_file = root / "env.yaml"
    env_file.write_text(
        f"storage: {{kind: embedded, port: {first}, internal_port: {first + 1}, lake: 's3://lake'}}\n"
        f"registry: {{kind: embedded, port: {first + 10}}}\n"
        f"ray: {{kind: embedded, port: {first + 11}, dashboard_port: {first + 12}, client_port: {first + 13},"
        f" cpus: 4, object_store_bytes: 200000000}}\n"
        f"serve: {{host: 127.0.0.1, port: {first + 14}}}\n"
        f"kafka: {{kind: embedded, port: {first + 15}}}\n"
    )
    return LocalPlatform(root / "home", env_file)


@pytest.fixture(scope="session")
def new_platform() -> Callable[[Path], LocalPlatform]:
    """A function that makes a platform of its own in a directory, for tests that break it."""
    return make_platform


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlatform]:
    """A platform that is up, shared by every end-to-end test that does not break it."""
    made = make_platform(tmp_path_factory.mktemp("platform"))
    try:
        result = made.up()
        assert result.returncode == 0, result.stdout + result.stderr
        yield made
    finally:
        result = made.down()
        assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture(scope="module")
def warm(platform: LocalPlatform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmCommandLine]:
    """The command line, warm, on the shared platform."""
    made = WarmCommandLine(platform, tmp_path_factory.mktemp("warm"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def store(platform: LocalPlatform) -> Store:
    """The shared platform's object store."""
    return Store(platform.endpoints.store)


@pytest.fixture(scope="session")
def existing(platform: LocalPlatform) -> Existing:
    """The shared platform as somebody else's, for environment files with one wrong part."""
    return Existing.of(platform)
