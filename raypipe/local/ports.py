"""Ports of this machine: who listens, what is free, and one clear error when a port is taken.

Knows sockets and processes; does not know what a port is for.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from raypipe.errors import PortTaken

_LOOPBACK = ("127.", "::1", "::ffff:127.")


@dataclass(frozen=True, slots=True)
class Port:
    """A port the platform wants, and the setting that moves it (None when nothing does)."""

    number: int
    setting: str


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that accepts connections."""

    address: str
    port: int
    pid: int | None
    process: str

    @property
    def interface(self) -> str:
        """`loopback`, `all interfaces`, or the address itself."""
        if self.address.startswith(_LOOPBACK):
            return "loopback"
        return "all interfaces" if self.address in ("0.0.0.0", "::") else self.address


def listeners(pids: Iterable[int] | None = None) -> list[Listener]:
    """Return the listening TCP sockets of these processes, or of all that may be seen, in order of port."""
    wanted = None if pids is None else set(pids)
    found = {
        (c.laddr.ip, c.laddr.port, c.pid)
        for c in psutil.net_connections(kind="tcp")
        if c.status == psutil.CONN_LISTEN and c.laddr and (wanted is None or c.pid in wanted)
    }
    return [Listener(ip, port, pid, _name(pid)) for ip, port, pid in sorted(found, key=lambda f: (f[1], f[0]))]


def _name(pid: int | None) -> str:
    try:
        return psutil.Process(pid).name() if pid else "unknown"
    except psutil.Error:
        return "unknown"


def free(port: int) -> bool:
    """Return whether a server could listen on this port of the loopback interface now."""
    with socket.socket() as probe:
        # As servers do: without it a connection in TIME_WAIT would make the port look taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
        return True


def any_free(preferred: int, taken: Iterable[int] = ()) -> int:
    """Return `preferred` if it is free, else a port that the kernel picks."""
    avoid = set(taken)
    if preferred not in avoid and free(preferred):
        return preferred
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in avoid:
            return port


def require_free(ports: Iterable[Port], file: str) -> None:
    """Return if every port is free.

    Raises
    ------
    PortTaken
        Naming the port, the process that holds it and the setting that moves it.
    """
    taken = [p for p in ports if not free(p.number)]
    if not taken:
        return
    port = taken[0]
    holder = next((f for f in listeners() if f.port == port.number and f.pid), None)
    who = f"{holder.process} (pid {holder.pid})" if holder else "a process of another user"
    raise PortTaken(
        f"port {port.number} is taken by {who}: end that process, or change `{port.setting}` in {file}",
        port=port.number,
        setting=port.setting,
        holder=who,
    )
