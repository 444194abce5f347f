"""The serving endpoint as a plain ASGI application: Open Inference Protocol v2 and MLflow scoring.

Small bodies are scored where they arrive, large ones in a thread, so that health checks are answered meanwhile.
Every answer names version, epoch and arm. Knows HTTP and the protocols; does not know Ray or how models are loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from urllib.parse import parse_qs

import orjson

import raypipe
from raypipe.adapters.gateway_http import (
    Answer,
    Disconnected,
    Receive,
    Refused,
    Scope,
    Send,
    answer_lifespan,
    read_body,
    request_id,
)
from raypipe.adapters.gateway_lane import Call
from raypipe.adapters.gateway_loading import Switch
from raypipe.adapters.gateway_log import Recorder
from raypipe.adapters.gateway_scoring import Asked, Parse, Scoring, parse_infer, parse_invocations
from raypipe.adapters.gateway_state import GatewayState, Model, Serving
from raypipe.adapters.gateway_trial import Trial, Trials
from raypipe.errors import BadRequest
from raypipe.protocol import invocations, oip

_MLFLOW_CODES = {
    400: "BAD_REQUEST",
    404: "RESOURCE_DOES_NOT_EXIST",
    405: "ENDPOINT_NOT_FOUND",
    413: "REQUEST_LIMIT_EXCEEDED",
    415: "BAD_REQUEST",
    503: "TEMPORARILY_UNAVAILABLE",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """A request that failed for a reason nobody foresaw."""

    request_id: str
    method: str
    path: str
    error: Exception


class GatewayApp:
    """The ASGI application of one replica.

    Parameters
    ----------
    switch
        Holds the models in force.
    executor
        Runs large requests.
    replica
        This replica's id, told by `/status`.
    on_fault
        Told of every unforeseen error, after which the client gets 500 and the request id.
    reach
        Makes the call to a challenger's application, by its name.
    recorder
        Takes note of answers and pairs.
    echo_request_id
        Whether to answer with `x-request-id`; false where the server in front already does.
    """

    def __init__(
        self,
        switch: Switch,
        executor: Executor,
        *,
        replica: str,
        on_fault: Callable[[Fault], None],
        reach: Callable[[str], Call],
        recorder: Recorder,
        echo_request_id: bool = True,
    ) -> None:
        self._switch = switch
        self._scoring = Scoring(executor, recorder)
        self._trials = Trials(reach)
        self._replica = replica
        self._on_fault = on_fault
        self._echo_request_id = echo_request_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI scope."""
        match scope["type"]:
            case "http":
                await self._http(scope, receive, send)
            case "lifespan":
                await answer_lifespan(receive, send)
            case _:
                await send({"type": "websocket.close", "code": 1000})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        identity = request_id(headers)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        parts = path.strip("/").split("/")
        try:
            answer = await self._answer(
                scope["method"], parts, scope.get("query_string", b""), headers, receive, identity
            )
        except Disconnected:
            return
        except invocations.UnsupportedMediaType as error:
            answer = _error(parts, 415, error.message)
        except BadRequest as error:
            answer = _error(parts, 400, error.message)
        except Refused as error:
            answer = _error(parts, error.status, error.message, error.headers)
        except Exception as error:  # noqa: BLE001 the request boundary: counted, logged, and tested
            self._on_fault(Fault(identity, scope["method"], path, error))
            answer = _error(parts, 500, f"the gateway failed on this request: report the request id {identity}")
        await self._send(answer, identity, send)

    async def _send(self, answer: Answer, identity: str, send: Send) -> None:
        headers = [
            (b"content-type", answer.content_type),
            (b"content-length", b"%d" % len(answer.body)),
            *answer.headers,
        ]
        if self._echo_request_id:
            headers.append((b"x-request-id", identity.encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(
        self,
        method: str,
        parts: list[str],
        query: bytes,
        headers: dict[bytes, bytes],
        receive: Receive,
        identity: str,
    ) -> Answer:
        state = self._switch.state
        pinned: str | None = None
        match parts:
            case ["v2", "models", name, "infer"]:
                parse: Parse = parse_infer
            case ["v2", "models", name, "versions", pinned, "infer"]:
                parse = parse_infer
            case ["invocations"]:
                parse, name = parse_invocations, self._only()
            case ["endpoints", name, "invocations"]:
                parse = parse_invocations
            case _:
                return self._read(method, state, parts, query)
        trial = self._trial(state, name)
        tried = trial is not None and pinned is not None and pinned == trial.order.version
        loaded = name in state.models and pinned in state.models[name].versions
        serving = None if tried and not loaded else self._serving(state, name, pinned)
        if method != "POST":
            raise Refused(405, f"{method} is not allowed here: POST the request", (b"allow", b"POST"))
        body = await read_body(headers, receive, state.max_body_bytes)
        asked = Asked(headers, body, identity, state.max_rows, _known(state.models[name], trial))
        if serving is None and trial is not None:
            return await self._scoring.answer_pinned(parse, state.models[name].config, trial, asked)
        assert serving is not None
        return await self._scoring.answer(parse, state, serving, asked, trial, pinned=pinned is not None)

    def _trial(self, state: GatewayState, name: str) -> Trial | None:
        model = state.models.get(name)
        return self._trials.of(model) if model else None

    def _read(self, method: str, state: GatewayState, parts: list[str], query: bytes) -> Answer:
        answer = self._document(state, parts, query)
        if answer is None:
            raise Refused(404, f"there is nothing at /{'/'.join(parts)[:200]}: GET /v2/models lists the models")
        if method not in ("GET", "HEAD"):
            raise Refused(405, f"{method} is not allowed here: use GET", (b"allow", b"GET, HEAD"))
        return answer

    def _document(self, state: GatewayState, parts: list[str], query: bytes) -> Answer | None:
        match parts:
            case ["v2"]:
                return Answer(200, oip.server_metadata(raypipe.__version__))
            case ["v2", "health", "live"]:
                return Answer(200, oip.health(ready=state.ready))
            case ["v2", "health", "ready"]:
                return _readiness(oip.health(ready=state.ready), ready=state.ready)
            case ["v2", "models"]:
                return Answer(
                    200, orjson.dumps({"models": [_listing(m) for m in state.models.values() if m.config.loaded]})
                )
            case ["v2", "models", name]:
                serving = self._serving(state, name)
                return Answer(200, oip.model_metadata(name, [*state.models[name].versions], serving.scorer.columns))
            case ["v2", "models", name, "versions", version]:
                serving = self._serving(state, name, version)
                return Answer(200, oip.model_metadata(name, [version], serving.scorer.columns))
            case ["v2", "models", name, "ready"]:
                self._serving(state, name)
                return Answer(200, oip.model_health(name, ready=True))
            case ["v2", "models", name, "versions", version, "ready"]:
                self._serving(state, name, version)
                return Answer(200, oip.model_health(name, ready=True))
            case ["ping" | "health"]:
                return Answer(200 if state.ready else 404, b"\n")
            case ["version"]:
                return Answer(200, raypipe.__version__.encode(), content_type=b"text/plain; charset=utf-8")
            case ["status"]:
                return Answer(200, self._status(query))
            case _:
                return None

    def _status(self, query: bytes) -> bytes:
        """Return what this replica does and has counted; who names a rollout as its `lease` promises to judge it."""
        for model in self._switch.state.models.values():
            self._trials.of(model)
        for rollout in parse_qs(query.decode("latin-1")).get("lease", ()):
            self._trials.lease(rollout)
        status = replace(self._switch.status(), evidence=self._trials.evidence())
        return orjson.dumps({"replica": self._replica, **asdict(status)}, option=orjson.OPT_NON_STR_KEYS)

    def _serving(self, state: GatewayState, name: str, version: str | None = None) -> Serving:
        model = state.models.get(name)
        if model is None or not model.config.loaded:
            wanted = self._switch.wanted
            if not wanted or (name in wanted and wanted[name].loaded):
                raise Refused(503, f"model {name[:100]!r} is not loaded yet: try again", (b"retry-after", b"1"))
            has = ", ".join(m for m in wanted if wanted[m].loaded) or "none"
            raise Refused(404, f"there is no model {name[:100]!r}: this endpoint has {has}")
        if version is None:
            if model.champion is None:
                raise Refused(503, f"model {name!r} has no champion yet: try again", (b"retry-after", b"1"))
            return model.champion
        if version not in model.versions:
            has = ", ".join(model.versions) or "none"
            raise Refused(404, f"model {name!r} has no version {version[:100]!r} loaded: it has {has}")
        return model.versions[version]

    def _only(self) -> str:
        # A candidate being prepared beside it does not make the one model that answers ambiguous.
        names = [name for name, wanted in self._switch.wanted.items() if wanted.champion]
        if len(names) > 1:
            raise Refused(404, f"this endpoint has {', '.join(names)}: POST to /endpoints/{names[0]}/invocations")
        if not names:
            raise Refused(503, "no model has a champion yet: try again", (b"retry-after", b"1"))
        return names[0]


def _known(model: Model, trial: Trial | None) -> frozenset[str]:
    """Return the columns of every version at hand; none where there is one, whose own are all that is known."""
    if len(model.versions) < 2 and trial is None:
        return frozenset()
    taken = [v.schema.names for v in model.versions.values()]
    return frozenset().union(*taken, trial.schema.names if trial else ())


def _listing(model: Model) -> dict[str, object]:
    champion = model.champion.version if model.champion else None
    return {
        "name": model.config.name,
        "version": champion,
        "versions": [*model.versions],
        "ready": champion is not None,
    }


def _readiness(body: bytes, *, ready: bool) -> Answer:
    return Answer(200, body) if ready else Answer(503, body, ((b"retry-after", b"1"),))


def _error(parts: list[str], status: int, message: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> Answer:
    if parts[-1] == "invocations":
        body = invocations.error_body(message, _MLFLOW_CODES.get(status, "INTERNAL_ERROR"))
    else:
        body = oip.error_body(message)
    return Answer(status, body, tuple(headers))
