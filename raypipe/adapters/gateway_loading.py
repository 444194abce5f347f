"""Which models a gateway replica answers with, and how it gets from one generation to the next.

Each model moves by itself: its generation is compared with its own last one, and what hangs or is refused holds up no
other. Loading (slow, in a thread, may be refused) and switching (one assignment) are separate steps: `prepare` and
`commit`. Whatever goes wrong with a candidate, the champion in force stays in force. What the store did not give is
tried again until it does, or until another generation is ordered. Does not know HTTP or Serve.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from pydantic import ValidationError

from raypipe.adapters.gateway_config import GatewayConfig, ModelConfig, VersionConfig
from raypipe.adapters.gateway_state import GatewayState, GatewayStatus, Loader, Model, Prepared, Scorer, Serving, warm
from raypipe.environment import StoreAddress
from raypipe.errors import AccessDenied, Unavailable
from raypipe.protocol.cells import arrow_schema
from raypipe.telemetry import event

# A load that hangs occupies a thread for good; the second lets later ones load all the same.
_LOADERS = 2
# A restarted store is back within seconds; one that is away for long need not be asked more often than this.
_FIRST_RETRY_S, _LONGEST_RETRY_S = 3.0, 30.0

Later = Callable[[float, Callable[[], object]], object]
"""Calls a function after so many seconds, in another thread."""


def later(seconds: float, call: Callable[[], object]) -> None:
    """Return at once; `call` is called after `seconds`, unless the process ends before."""
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    timer.start()


class Switch:
    """Holds the state in force and moves each model forward, never back.

    Attributes
    ----------
    state
        What is in force.
    wanted
        What each model was last ordered to be, by name.
    store
        Where the bundles are; None before the first order.

    Parameters
    ----------
    load
        Fetches and verifies one bundle; called in a thread.
    deadline_s
        A load that takes longer is refused, and its thread counts as hung until it ends.
    later
        Waits before what the store did not give is tried again: 3 s at first, then twice as long each time, up to 30 s.
    """

    def __init__(self, load: Loader, *, deadline_s: float = 300.0, later: Later = later) -> None:
        self.state = GatewayState()
        self.wanted: Mapping[str, ModelConfig] = {}
        self.store: StoreAddress | None = None
        self._load = load
        self._deadline_s = deadline_s
        self._later = later
        self._lock = threading.Lock()
        self._preparers = ThreadPoolExecutor(_LOADERS, thread_name_prefix="prepare")
        self._loaders = ThreadPoolExecutor(_LOADERS, thread_name_prefix="bundle")
        self._hung: list[Future[Scorer]] = []
        self._refused: Mapping[str, str] = {}

    def reconfigure(self, user_config: object) -> tuple[Future[None], ...]:
        """Take note of what is wanted, return at once, and load it in threads; never raises.

        A model at a lower generation than one already wanted is ignored: a process that wakes up late cannot undo an
        abort. The same one again retries what was refused, and a model that is not named stays as it is. What is
        loaded already (an adoption, an abort) is in force on return. Returns the work under way, which does not include
        what is tried again later because the store did not give it.
        """
        try:
            config = GatewayConfig.model_validate(user_config)
        except ValidationError as error:
            reasons = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            with self._lock:
                self._refused = {**self._refused, "user_config": f"the gateway's user_config is wrong: {reasons}"}
            return ()
        with self._lock:
            self.store = config.store
            self._refused = {key: reason for key, reason in self._refused.items() if key != "user_config"}
            self.state = replace(self.state, max_rows=config.max_rows, max_body_bytes=config.max_body_bytes)
            moved = [model for model in config.models if self._takes(model)]
        known = self._known()
        # First what takes no time: an abort must not wait for another model's bundle.
        at_once = [m for m in moved if all(v.digest in known for v in m.loaded)]
        for model in at_once:
            self.commit(self.prepare(model, config.store))
        return tuple(self._preparers.submit(self._finish, m, config.store) for m in moved if m not in at_once)

    def prepare(self, config: ModelConfig, store: StoreAddress, earlier: Prepared | None = None) -> Prepared:
        """Return a model with its versions loaded, verified and warmed, and a reason for each version that is not.

        What an earlier attempt at the same order loaded or refused for good is taken over, not tried again.
        """
        known = self._known()
        versions = dict(earlier.model.versions) if earlier else {}
        refused = {key: why for key, why in earlier.refused.items() if key not in earlier.away} if earlier else {}
        away: set[str] = set()
        for wanted in config.loaded:
            key = f"{config.name}/{wanted.version}"
            if wanted.version in versions or key in refused:
                continue
            scorer = known.get(wanted.digest) or self._attempt(store, wanted)
            if isinstance(scorer, _Failure):
                refused[key] = scorer.reason
                away |= {key} if scorer.away else set()
                continue
            schema = arrow_schema(scorer.columns)
            versions[wanted.version] = Serving(config.name, wanted.version, wanted.digest, scorer, schema)
        champion = versions.get(config.champion) if config.champion else None
        return Prepared(Model(config, champion, versions), refused, frozenset(away))

    def commit(self, prepared: Prepared) -> bool:
        """Put a prepared model in force and return whether that happened.

        It does not when the champion it names is missing while another answers: that one answers on, and only what is
        no longer ordered goes away beside it. A replica where nobody answers takes what it can get. What was prepared
        for an order that is not the last one any more changes nothing.
        """
        model = prepared.model
        name, generation = model.config.name, model.config.generation
        with self._lock:
            if not self._stands(model.config):
                return False
            # In one step with the switch: nobody may see a generation in force and not what it lacks.
            others = {key: reason for key, reason in self._refused.items() if not key.startswith(f"{name}/")}
            self._refused = {**others, **prepared.refused}
            before = self.state.models.get(name)
            if before and before.config is model.config and before.versions.keys() == model.versions.keys():
                return True
            kept = before is not None and before.champion is not None and _lacks_champion(model)
            after = _without_withdrawn(before, model) if before and kept else model
            self.state = replace(self.state, models={**self.state.models, name: after})
        if kept:
            return False
        version = model.champion.version if model.champion else "-"
        event("gateway", f"model {name}, generation {generation} is in force: {version}", generation=generation)
        return True

    def status(self) -> GatewayStatus:
        """Return what is in force, what is wanted, and what was refused."""
        with self._lock:
            models = self.state.models
            return GatewayStatus(
                epochs={name: m.config.generation for name, m in models.items()},
                wanted={name: m.generation for name, m in self.wanted.items()},
                champions={name: m.champion.version for name, m in models.items() if m.champion},
                loaded={name: {v: s.digest for v, s in m.versions.items()} for name, m in models.items()},
                refused=dict(self._refused),
            )

    def check(self) -> None:
        """Return if this replica can still be led.

        Raises
        ------
        Unavailable
            When every loading thread hangs: no later generation could ever be loaded here.
        """
        hung = sum(not future.done() for future in self._hung)
        if hung >= _LOADERS:
            raise Unavailable(f"{hung} of {_LOADERS} loading threads hang", system="gateway", address="loader")

    def _takes(self, model: ModelConfig) -> bool:
        """Return whether `model` is to be prepared, after taking note of it."""
        name, wanted = model.name, self.wanted.get(model.name)
        about = {key for key in self._refused if key == name or key.startswith(f"{name}/")}
        if wanted and model.generation == wanted.generation and model != wanted:
            reason = f"generation {model.generation} already orders other traffic: commit a decision with the next one"
            self._refused = {**self._refused, name: reason}
            return False
        if wanted and (model.generation < wanted.generation or (model == wanted and not about)):
            return False
        self.wanted = {**self.wanted, name: model}
        self._refused = {key: reason for key, reason in self._refused.items() if key not in about}
        return True

    def _stands(self, order: ModelConfig) -> bool:
        # The same generation ordered again begins anew: of two attempts at it, only the later one counts.
        return self.wanted[order.name] is order

    def _known(self) -> dict[str, Scorer]:
        return {s.digest: s.scorer for m in self.state.models.values() for s in m.versions.values()}

    def _attempt(self, store: StoreAddress, wanted: VersionConfig) -> Scorer | _Failure:
        future = self._loaders.submit(lambda: warm(wanted, self._load(store, wanted)))
        try:
            # Read, not raised: whatever a candidate's code does wrong must not cost the replica that serves.
            failure = future.exception(self._deadline_s)
        except TimeoutError:
            self._hung.append(future)
            return _Failure(f"loading took more than {self._deadline_s:g} s: is the object store reachable from here?")
        if failure is None:
            return future.result()
        return _Failure(f"{type(failure).__name__}: {failure}", away=isinstance(failure, (Unavailable, AccessDenied)))

    def _finish(
        self,
        config: ModelConfig,
        store: StoreAddress,
        earlier: Prepared | None = None,
        retry_s: float = _FIRST_RETRY_S,
    ) -> None:
        if not self._stands(config):
            return
        prepared = self.prepare(config, store, earlier)
        self.commit(prepared)
        said = earlier.refused if earlier else {}
        for name, reason in prepared.refused.items():
            if name not in said:
                event("gateway", f"refused {name}, what is in force stays: {reason}", name=name, reason=reason)
        if prepared.away and self._stands(config):
            again = partial(self._finish, config, store, prepared, min(2 * retry_s, _LONGEST_RETRY_S))
            # The wait holds no thread of the pool: another model's order finds one free.
            self._later(retry_s, lambda: self._preparers.submit(again))


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a version could not be loaded, and whether the store was away, so that trying again may help."""

    reason: str
    away: bool = False


def _lacks_champion(model: Model) -> bool:
    return model.config.champion is not None and model.champion is None


def _without_withdrawn(before: Model, ordered: Model) -> Model:
    """Return the model before, reachable by its champion's version and by those that are still ordered."""
    digests = {v.digest for v in ordered.config.loaded}
    versions = {v: s for v, s in before.versions.items() if s is before.champion or s.digest in digests}
    return replace(before, versions=versions)
