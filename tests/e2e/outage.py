"""A TCP proxy in front of a service that goes away: on demand, or when a request goes by that a test waits for."""

from __future__ import annotations

import contextlib
import re
import selectors
import socket
import threading


class Outage:
    """Forwards connections to `target` until `away`; then every connection is reset, old and new."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.away = threading.Event()
        self._awaited: re.Pattern[bytes] | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def expect(self, request: bytes) -> None:
        """Be there again, until a request whose first bytes match goes by."""
        self._awaited = re.compile(request)
        self.away.clear()

    def back(self) -> None:
        """Be there again, for good."""
        self._awaited = None
        self.away.clear()

    def close(self) -> None:
        """Stop listening."""
        self.away.set()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            if self.away.is_set():
                return
            with socket.create_connection(self._target) as server, selectors.DefaultSelector() as ready:
                ready.register(client, selectors.EVENT_READ, server)
                ready.register(server, selectors.EVENT_READ, client)
                while not self.away.is_set():
                    for key, _ in ready.select(timeout=0.1):
                        data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                        if not data:
                            return
                        if key.fileobj is client and self._awaited and self._awaited.match(data):
                            self.away.set()
                            return
                        key.data.sendall(data)
