"""Stands between raypipe and the object store, and lets requests fail as a plan says.

Speaks just enough HTTP/1.1 to see where a request and a reply end, and passes their bytes on unchanged: the Host header
too, over which the client has signed. Does not know S3.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from faults import Plan

_LIMIT = 1 << 20
_SORRY = b"<Error><Code>ServiceUnavailable</Code><Message>planned</Message></Error>"
_REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n%s" % (
    len(_SORRY),
    _SORRY,
)
_WRITES = (b"PUT ", b"POST ", b"DELETE ")
_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


Action = Callable[[], Future[None] | None]


@dataclass(frozen=True, slots=True)
class Moment:
    """`before` or `after` the store has seen the n-th `request`, or the n-th `write` of them."""

    when: str
    what: str
    number: int

    def __str__(self) -> str:
        return f"{self.when} {self.what} {self.number}"


class Proxy:
    """Forwards connections on `port` to `target`; requests, and writes among them, are counted from 1 since `follow`."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._plan, self._moments = Plan(), dict[Moment, Action]()
        self.requests = self.writes = self.total = 0
        self.injected: Counter[str] = Counter()
        self.failed: list[Exception] = []
        self._tasks: set[asyncio.Task] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_LIMIT))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def follow(self, plan: Plan, moments: Mapping[Moment, Action] | None = None) -> None:
        """Count from 1 again, under another plan.

        Parameters
        ----------
        moments
            What happens at which moment, once; a request waits for the future that it may return.
        """
        self._plan, self._moments, self.requests, self.writes = plan, dict(moments or {}), 0, 0

    def close(self) -> None:
        """Stop listening and end every connection."""
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _call(self, awaitable):
        return asyncio.run_coroutine_threadsafe(awaitable, self._loop).result()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        server: list[_Streams] = []
        try:
            # A connection that breaks, on whichever side, is one that this proxy ends too; and so does `close`.
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while (request := await _request((reader, writer))) is not None:
                    if not await self._answer(request, writer, server):
                        break
        except Exception as error:  # noqa: BLE001  what failed at a moment is raised where somebody waits for it
            self.failed.append(error)
        for _, open_ in [*server, (reader, writer)]:
            open_.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await open_.wait_closed()
        self._tasks.discard(task)

    async def _answer(self, request: bytes, writer: asyncio.StreamWriter, server: list[_Streams]) -> bool:
        """Return whether the connection stays."""
        self.requests += 1
        self.total += 1
        counted = [("request", self.requests)]
        if request.startswith(_WRITES):
            self.writes += 1
            counted.append(("write", self.writes))
        fault = self._plan.at(self.requests)
        if fault:
            self.injected[fault.kind] += 1
            await asyncio.sleep(fault.seconds)
        await self._reach("before", counted)
        kind = fault.kind if fault else ""
        if kind == "drop":
            return False
        if kind == "refuse":
            return await _reply(writer, _REFUSAL)
        reply = await self._forwarded(request, server)
        if kind == "repeat":
            reply = await self._forwarded(request, server)
        await self._reach("after", counted)
        match kind:
            case "lose":
                return False
            case "deny":
                return await _reply(writer, _REFUSAL)
            case "truncate":
                await _reply(writer, reply[: len(reply) // 2])
                return False
        return await _reply(writer, reply)

    async def _reach(self, when: str, counted: list[tuple[str, int]]) -> None:
        for what, number in counted:
            if (waits := self._moments.pop(Moment(when, what, number), _nothing)()) is not None:
                await asyncio.wrap_future(waits)

    async def _forwarded(self, request: bytes, server: list[_Streams]) -> bytes:
        if not server:
            server.append(await asyncio.open_connection(*self._target, limit=_LIMIT))
        reader, upstream = server[0]
        upstream.write(request)
        await upstream.drain()
        return await _message(reader, bodyless=request.startswith(b"HEAD "))


def _nothing() -> None:
    pass


async def _reply(writer: asyncio.StreamWriter, data: bytes) -> bool:
    writer.write(data)
    await writer.drain()
    return True


async def _request(streams: _Streams) -> bytes | None:
    """Return one whole request, None where the client has no more; a client that asks may send is told to."""
    reader, writer = streams
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    if b"\r\nexpect: 100-continue\r\n" in head.lower():
        await _reply(writer, b"HTTP/1.1 100 Continue\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"expect:")]
        head = b"\r\n".join(lines)
    return head + await _body(head, reader)


async def _message(reader: asyncio.StreamReader, *, bodyless: bool) -> bytes:
    """Return one whole reply."""
    head = await reader.readuntil(b"\r\n\r\n")
    code = head.split(b" ", 2)[1]
    if code == b"100":
        return await _message(reader, bodyless=bodyless)
    return head if bodyless or code in (b"204", b"304") else head + await _body(head, reader)


async def _body(head: bytes, reader: asyncio.StreamReader) -> bytes:
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
    if b"chunked" in fields.get(b"transfer-encoding", b""):
        chunks = []
        while True:
            line = await reader.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            chunks.append(line + await reader.readexactly(size + 2))
            if size == 0:
                return b"".join(chunks)
    return await reader.readexactly(int(fields.get(b"content-length", b"0")))
