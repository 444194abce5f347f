"""HTTP as ASGI gives it: reading a bounded body, telling a request id, answering. Knows nothing of models."""

from __future__ import annotations

import re
import uuid
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from raypipe.errors import BadRequest

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

_REQUEST_ID = re.compile(r"^[\x21-\x7e]{1,128}$")


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer."""

    status: int
    body: bytes
    headers: Headers = ()
    content_type: bytes = b"application/json"


class Refused(Exception):
    """A request that gets another status than 200; the message goes to the client."""

    def __init__(self, status: int, message: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


class Disconnected(Exception):
    """The client went away before its request was whole."""


def request_id(headers: Mapping[bytes, bytes]) -> str:
    """Return the caller's `x-request-id` where it is up to 128 visible characters, else a new one."""
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if _REQUEST_ID.match(given) else uuid.uuid4().hex


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, limit: int) -> bytes:
    """Return the request's body, decompressed; it is never held beyond `limit` bytes.

    Raises
    ------
    Refused
        413 when it is larger, 415 when its encoding is not gzip or deflate.
    BadRequest
        When it cannot be decompressed.
    Disconnected
        When the client went away.
    """
    too_large = Refused(413, f"the body has more than {limit} bytes: send fewer rows in each request")
    if int(headers.get(b"content-length", b"0")) > limit:
        raise too_large
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        body += message.get("body", b"")
        if len(body) > limit:
            raise too_large
        more = message.get("more_body", False)
    encoding = headers.get(b"content-encoding", b"identity").lower()
    return body if encoding == b"identity" else _decompressed(body, encoding, limit, too_large)


def _decompressed(body: bytes, encoding: bytes, limit: int, too_large: Refused) -> bytes:
    if encoding not in (b"gzip", b"deflate"):
        raise Refused(415, f"the content encoding {encoding.decode('latin-1')[:60]!r} is not read here: send gzip")
    # 32 beside the window size: detect a gzip or a zlib header.
    stream = zlib.decompressobj(32 + zlib.MAX_WBITS)
    try:
        plain = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise BadRequest(f"the body is not {encoding.decode()}: {error}") from error
    if len(plain) > limit:
        raise too_large
    if not stream.eof:
        raise BadRequest(f"the {encoding.decode()} body is cut short: send it whole")
    return plain


async def answer_lifespan(receive: Receive, send: Send) -> None:
    """Answer the lifespan scope, without which Serve does not start the application."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
