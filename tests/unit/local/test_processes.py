"""Processes: only marked ones are found, only this very process counts as alive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from raypipe.local.processes import ProcessId, alive, end, marked, platform_id, spawn

DEAF = "import signal; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True)\nwhile True: signal.pause()"
CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import signal; signal.pause()'])"


@pytest.fixture
def mark(tmp_path: Path):
    mark = platform_id(tmp_path)
    yield mark
    end(lambda: marked(mark), grace_s=0.0)


def test_a_recycled_pid_is_not_alive():
    now = psutil.Process().create_time()
    assert alive(ProcessId(os.getpid(), now))
    assert not alive(ProcessId(os.getpid(), now - 100))


def test_the_whole_tree_of_a_part_is_ended_and_no_other(mark: str, tmp_path: Path):
    mine = spawn([sys.executable, "-c", CHILD], os.environ, tmp_path / "a.log", mark=mark, part="a")
    other = spawn([sys.executable, "-c", CHILD], os.environ, tmp_path / "b.log", mark=mark, part="b")
    while len(marked(mark)) < 4:
        pass
    assert end(lambda: marked(mark, "a")) == 2
    assert not alive(mine)
    assert alive(other)
    assert not marked(mark, "a")
    assert len(marked(mark, "b")) == 2


def test_a_process_that_ignores_the_request_is_killed(mark: str):
    env = {**os.environ, "RAYPIPE_PLATFORM_ID": mark, "RAYPIPE_PART": "a"}
    with subprocess.Popen([sys.executable, "-c", DEAF], env=env, stdout=subprocess.PIPE, text=True) as deaf:
        assert deaf.stdout is not None
        assert deaf.stdout.readline() == "deaf\n"
        assert end(lambda: marked(mark), grace_s=0.2) == 1
        assert not marked(mark)
        assert deaf.poll() is not None


def test_a_stopped_process_is_ended_too(mark: str):
    env = {**os.environ, "RAYPIPE_PLATFORM_ID": mark, "RAYPIPE_PART": "a"}
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], env=env) as stopped:
        stopped.send_signal(signal.SIGSTOP)
        assert end(lambda: marked(mark)) == 1
        assert not marked(mark)
        assert stopped.poll() is not None


def test_neither_this_process_nor_its_ancestors_are_ever_found():
    parent = psutil.Process().parent()
    assert parent is not None
    mark = psutil.Process().environ().get("RAYPIPE_PLATFORM_ID", "")
    assert {os.getpid(), parent.pid}.isdisjoint(p.pid for p in marked(mark))


def test_a_log_is_private(mark: str, tmp_path: Path):
    spawn([sys.executable, "-c", "print('x')"], os.environ, tmp_path / "a.log", mark=mark, part="a")
    assert (tmp_path / "a.log").stat().st_mode & 0o777 == 0o600
