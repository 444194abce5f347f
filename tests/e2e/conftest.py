"""The local platform for end-to-end tests: a home of its own, ports that nobody else has."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

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

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", "from raypipe.cli import main; main()", *arguments]
        return subprocess.Popen(
            command, env=self.variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path.cwd()
        )

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=150)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def up(self) -> subprocess.CompletedProcess[str]:
        return self.cli("up", "--env", str(self.env_file))

    def down(self) -> subprocess.CompletedProcess[str]:
        return self.cli("down")


def free_block(length: int) -> int:
    """Return the first of `length` neighbouring free ports whose ports + 10000 are free too."""
    for first in range(21000 + os.getpid() % 500 * 10, 30000, length):
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
