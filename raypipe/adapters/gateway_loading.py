"""Which models a gateway replica answers with, and how it gets from one generation to the next.

Loading (slow, in a thread, may be refused) and switching (one assignment) are separate steps: `prepare` and
`commit`. Whatever goes wrong with a candidate, the champion in force stays in force. Does not know HTTP or Serve.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from pydantic import ValidationError

from raypipe.adapters.gateway_config import GatewayConfig
from raypipe.adapters.gateway_state import GatewayState, GatewayStatus, Loader, Model, Prepared, Serving, warm
from raypipe.errors import RaypipeError, Unavailable
from raypipe.protocol.cells import arrow_schema
from raypipe.telemetry import event

# A load that hangs occupies a thread for good; the second lets the next generation load all the same.
_LOADERS = 2


class Switch:
    """Holds the state in force and moves it forward, never back.

    Parameters
    ----------
    load
        Fetches and verifies one bundle; called in a thread.
    deadline_s
        A load that takes longer counts as hung.
    now
        Monotonic clock in seconds.
    """

    def __init__(self, load: Loader, *, deadline_s: float = 300.0, now: Callable[[], float] = time.monotonic) -> None:
        self.state = GatewayState()
        self._load = load
        self._deadline_s = deadline_s
        self._now = now
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(_LOADERS, thread_name_prefix="bundle")
        self._loading: dict[Future[Prepared], float] = {}
        self._wanted: GatewayConfig | None = None
        self._refused: Mapping[str, str] = {}

    def reconfigure(self, user_config: object) -> Future[Prepared] | None:
        """Take note of a wanted generation, return at once, and load it in a thread; never raises.

        A lower generation than one already wanted is ignored: a process that wakes up late cannot undo an abort.
        The same one again retries what was refused. Returns the load under way, None where there is nothing to do.
        """
        try:
            config = GatewayConfig.model_validate(user_config)
        except ValidationError as error:
            reasons = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            self._refuse({"user_config": f"the gateway's user_config is wrong: {reasons}"})
            return None
        with self._lock:
            if self._settled(config):
                return None
            self._wanted, self._refused = config, {}
            future = self._threads.submit(self.prepare, config)
            self._loading[future] = self._now()
        future.add_done_callback(partial(self._finish, config))
        return future

    def prepare(self, config: GatewayConfig) -> Prepared:
        """Return the models of `config` loaded, verified and warmed, with a reason for each version that is not."""
        known = {s.digest: s for m in self.state.models.values() for s in m.versions.values()}
        models: dict[str, Model] = {}
        refused: dict[str, str] = {}
        for model in config.models:
            versions: dict[str, Serving] = {}
            for wanted in model.loaded:
                try:
                    if wanted.digest in known:
                        scorer = known[wanted.digest].scorer
                    else:
                        scorer = self._load(config.store, wanted)
                        warm(model.name, wanted, scorer)
                except (RaypipeError, OSError) as error:
                    refused[f"{model.name}/{wanted.version}"] = f"{type(error).__name__}: {error}"
                    continue
                schema = arrow_schema(scorer.columns)
                versions[wanted.version] = Serving(model.name, wanted.version, wanted.digest, scorer, schema)
            champion = versions.get(model.champion) if model.champion else None
            models[model.name] = Model(model.name, champion, versions, model.rollout)
        return Prepared(config, models, refused)

    def commit(self, prepared: Prepared) -> bool:
        """Put a prepared generation in force and return whether that happened.

        It does not when a champion it names is missing: then the state before answers on. Only a replica with
        nothing in force takes what it can get.
        """
        config = prepared.config
        with self._lock:
            if self._wanted is not None and config.generation < self._wanted.generation:
                return False
            if config.generation < self.state.generation:
                return False
            if self.state.generation > 0 and any(
                m.champion and not prepared.models[m.name].champion for m in config.models
            ):
                return False
            self.state = GatewayState(config.generation, prepared.models, config.max_rows, config.max_body_bytes)
        versions = ", ".join(f"{m.name} {m.champion.version if m.champion else '-'}" for m in prepared.models.values())
        event("gateway", f"generation {config.generation} is in force: {versions}", generation=config.generation)
        return True

    def status(self) -> GatewayStatus:
        """Return what is in force, what is wanted, and what was refused."""
        with self._lock:
            state = self.state
            hung = {"loader": self._hung_sentence()} if self._hung() else {}
            return GatewayStatus(
                generation=state.generation,
                wanted=self._wanted.generation if self._wanted else 0,
                champions={m.name: m.champion.version for m in state.models.values() if m.champion},
                loaded={m.name: {v: s.digest for v, s in m.versions.items()} for m in state.models.values()},
                refused={**self._refused, **hung},
            )

    def names(self) -> tuple[str, ...]:
        """Return the names of the models wanted; none before the first generation is known."""
        wanted = self._wanted
        return tuple(m.name for m in wanted.models) if wanted else ()

    def check(self) -> None:
        """Return if this replica can still be led.

        Raises
        ------
        Unavailable
            When every loading thread hangs: no later generation could ever be loaded here.
        """
        with self._lock:
            if self._hung() >= _LOADERS:
                raise Unavailable(self._hung_sentence(), system="gateway", address="loader")

    def _settled(self, config: GatewayConfig) -> bool:
        wanted = self._wanted
        if wanted is None or config.generation > wanted.generation:
            return False
        if config == wanted:
            return not self._refused
        if config.generation == wanted.generation:
            reason = f"generation {config.generation} already orders other traffic: commit a decision with the next one"
            self._refused = {**self._refused, "user_config": reason}
        return True

    def _finish(self, config: GatewayConfig, future: Future[Prepared]) -> None:
        # Read, not raised: an unforeseen failure of a candidate must not cost the replica that serves.
        failure = future.exception()
        if failure is None:
            prepared = future.result()
            refused = prepared.refused
            self.commit(prepared)
        else:
            reason = f"{type(failure).__name__}: {failure}"
            refused = {f"{m.name}/{v.version}": reason for m in config.models for v in m.loaded}
        with self._lock:
            self._loading.pop(future, None)
        self._refuse(refused, config)

    def _refuse(self, refused: Mapping[str, str], config: GatewayConfig | None = None) -> None:
        with self._lock:
            if config is None or config == self._wanted:
                self._refused = {**self._refused, **refused}
        for name, reason in refused.items():
            event("gateway", f"refused {name}, the champion in force stays: {reason}", name=name, reason=reason)

    def _hung(self) -> int:
        return sum(self._now() - since > self._deadline_s for since in self._loading.values())

    def _hung_sentence(self) -> str:
        return f"loading a bundle has taken more than {self._deadline_s:g} s: is the object store reachable from here?"
