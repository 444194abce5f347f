"""Processes of the local platform, known by a mark in their environment.

Every process that the platform starts carries `RAYPIPE_PLATFORM_ID` and `RAYPIPE_PART`, and so does everything it
starts in turn: Ray workers, HAProxy, a job's children. Only marked processes are ever ended, so a recycled pid or a
stranger's Ray is safe. Knows no part by name.
"""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

PLATFORM_MARK = "RAYPIPE_PLATFORM_ID"
PART_MARK = "RAYPIPE_PART"


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process that no other can be mistaken for: its pid and its start time (seconds since the epoch)."""

    pid: int
    started_at_s: float


def platform_id(home: Path) -> str:
    """Return the mark of the platform of `home`; a function of the path, so that losing state loses no process.

    Examples
    --------
    >>> platform_id(Path("/a")) == platform_id(Path("/a")) != platform_id(Path("/b"))
    True
    """
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"raypipe:{home}"))


def alive(process: ProcessId) -> bool:
    """Return whether this very process still runs; a zombie or a recycled pid does not count."""
    try:
        found = psutil.Process(process.pid)
        # The start time is derived from the boot clock, which the kernel may correct by a fraction of a second.
        return abs(found.create_time() - process.started_at_s) < 1.0 and found.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def spawn(command: Sequence[str], env: Mapping[str, str], log: Path, *, mark: str, part: str) -> ProcessId:
    """Start `command` in a session of its own, output appended to `log` (mode 0600), and return who it is."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        child = subprocess.Popen(
            list(command),
            env={**env, PLATFORM_MARK: mark, PART_MARK: part},
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,
        )
    finally:
        os.close(descriptor)
    try:
        started = psutil.Process(child.pid).create_time()
    except psutil.Error:
        started = time.time()
    # The platform outlives this command, so nobody here waits for the child; say so, or its destructor warns.
    child.returncode = 0
    return ProcessId(child.pid, started)


def marked(mark: str, part: str | None = None) -> list[psutil.Process]:
    """Return the live processes of a platform, or of one part of it, without this process and its ancestors."""
    me = psutil.Process()
    spared = {me.pid, *(p.pid for p in me.parents())}
    return [p for p in psutil.process_iter() if p.pid not in spared and _carries(p, PLATFORM_MARK, mark, part)]


def _carries(process: psutil.Process, key: str, mark: str, part: str | None) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        env = process.environ()
    except (psutil.Error, OSError):
        return False
    return env.get(key) == mark and part in (None, env.get(PART_MARK))


def end(find: Callable[[], list[psutil.Process]], *, grace_s: float = 6.0, deadline_s: float = 15.0) -> int:
    """Return how many processes were ended: first asked (SIGTERM), after `grace_s` killed, until `find` finds none.

    Raises
    ------
    TimeoutError
        When some survive SIGKILL for `deadline_s` (a process stuck in the kernel).
    """
    ended: set[int] = set()
    began = time.monotonic()
    while processes := find():
        elapsed = time.monotonic() - began
        if elapsed > grace_s + deadline_s:
            pids = ", ".join(str(p.pid) for p in processes)
            raise TimeoutError(f"processes {pids} survive SIGKILL after {elapsed:.0f} s")
        for process in processes:
            _signal(process, kill=elapsed > grace_s, again=process.pid in ended)
            ended.add(process.pid)
        psutil.wait_procs(processes, timeout=max(0.2, grace_s - elapsed))
    return len(ended)


def _signal(process: psutil.Process, *, kill: bool, again: bool) -> None:
    try:
        if kill:
            process.kill()
        elif not again:
            process.terminate()
            # A stopped process (SIGSTOP) cannot hear SIGTERM until it continues.
            process.resume()
    except psutil.Error:
        pass
