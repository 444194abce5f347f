"""What the gateway is measured beside: the same scorer in a bare ASGI application, and a replica that does nothing.

`python -m benchmarks.serving_peers BUNDLE_DIRECTORY PORT` runs the first under uvicorn with uvloop and httptools.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
from ray import serve
from ray.serve.schema import LoggingConfig

from raypipe import scoring
from raypipe.bundle import digest_of, unpack

_HEADERS = [(b"content-type", b"application/json")]


class Bare:
    """An Open Inference Protocol request in, scores out, and nothing that a request could do without."""

    def __init__(self, scorer: scoring.Scorer) -> None:
        self.scorer = scorer
        self.types = {c.name: c.arrow for c in scorer.columns}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        body = b""
        while True:
            message = await receive()
            body += message["body"]
            if not message.get("more_body"):
                break
        inputs = orjson.loads(body)["inputs"]
        table = pa.table({i["name"]: _array(i["data"], self.types[i["name"]]) for i in inputs})
        scores = self.scorer.score(table)
        answer = orjson.dumps({"outputs": [{"name": "score", "shape": [len(scores)], "data": scores.tolist()}]})
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await send({"type": "http.response.body", "body": answer})


def _array(data: list[Any], type_: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(type_):
        # Timestamps come as text; Arrow reads it.
        return pa.array(data, pa.string()).cast(type_)
    return pa.array(data, type_)


class _Nothing:
    """A plain ASGI application; Serve takes a function for something that builds one."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await send({"type": "http.response.body", "body": b"{}"})


async def _lifespan(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


@serve.deployment(
    max_ongoing_requests=64,
    logging_config=LoggingConfig(enable_access_log=False),
    ray_actor_options={"num_cpus": 0.1},
)
@serve.ingress(_Nothing())
class Nothing:
    """The ceiling of a replica behind HAProxy."""


noop = Nothing.bind()


def main(directory: str, port: str) -> None:
    """Serve a packed bundle until killed."""
    import torch
    import uvicorn

    torch.set_num_threads(1)
    root = Path(directory)
    files = {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    scorer = scoring.load(unpack(files, digest_of(files)))
    uvicorn.run(
        Bare(scorer),
        host="127.0.0.1",
        port=int(port),
        loop="uvloop",
        http="httptools",
        log_level="error",
        access_log=False,
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
