"""Which models a gateway replica answers with, and how it gets from one generation to the next.

Each model moves by itself: its generation is compared with its own last one, and what hangs or is refused holds up no
other. Loading (slow, in a thread, may be refused) and switching (one assignment) are separate steps: `prepare` and
`commit`. Whatever goes wrong with a candidate, the champion in force stays in force. Does not know HTTP or Serve.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from pydantic import ValidationError

from raypipe.adapters.gateway_config import GatewayConfig, ModelConfig, VersionConfig
from raypipe.adapters.gateway_state import GatewayState, GatewayStatus, Loader, Model, Prepared, Scorer, Serving, warm
from raypipe.environment import StoreAddress
from raypipe.errors import Unavailable
from raypipe.protocol.cells import arrow_schema
from raypipe.telemetry import event

# A load that hangs occupies a thread for good; the second lets later ones load all the same.
_LOADERS = 2


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
    """

    def __init__(self, load: Loader, *, deadline_s: float = 300.0) -> None:
        self.state = GatewayState()
        self.wanted: Mapping[str, ModelConfig] = {}
        self.store: StoreAddress | None = None
        self._load = load
        self._deadline_s = deadline_s
        self._lock = threading.Lock()
        self._preparers = ThreadPoolExecutor(_LOADERS, thread_name_prefix="prepare")
        self._loaders = ThreadPoolExecutor(_LOADERS, thread_name_prefix="bundle")
        self._hung: list[Future[Scorer]] = []
        self._refused: Mapping[str, str] = {}

    def reconfigure(self, user_config: object) -> tuple[Future[None], ...]:
        """Take note of what is wanted, return at once, and load it in threads; never raises.

        A model at a lower generation than one already wanted is ignored: a process that wakes up late cannot undo an
        abort. The same one again retries what was refused, and a model that is not named stays as it is. What is
        loaded already (an adoption, an abort) is in force on return. Returns the work under way.
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

    def prepare(self, config: ModelConfig, store: StoreAddress) -> Prepared:
        """Return a model with its versions loaded, verified and warmed, and a reason for each version that is not."""
        known = self._known()
        versions: dict[str, Serving] = {}
        refused: dict[str, str] = {}
        for wanted in config.loaded:
            scorer = known.get(wanted.digest) or self._attempt(store, wanted)
            if isinstance(scorer, str):
                refused[f"{config.name}/{wanted.version}"] = scorer
                continue
            schema = arrow_schema(scorer.columns)
            versions[wanted.version] = Serving(config.name, wanted.version, wanted.digest, scorer, schema)
        champion = versions.get(config.champion) if config.champion else None
        return Prepared(Model(config, champion, versions), refused)

    def commit(self, prepared: Prepared) -> bool:
        """Put a prepared model in force and return whether that happened.

        It does not when the champion it names is missing while another answers: that one answers on, and only what is
        no longer ordered goes away beside it. A replica where nobody answers takes what it can get.
        """
        model = prepared.model
        name, generation = model.config.name, model.config.generation
        with self._lock:
            if generation < self.wanted[name].generation:
                return False
            # In one step with the switch: nobody may see a generation in force and not what it lacks.
            self._refused = {**self._refused, **prepared.refused}
            before = self.state.models.get(name)
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

    def _known(self) -> dict[str, Scorer]:
        return {s.digest: s.scorer for m in self.state.models.values() for s in m.versions.values()}

    def _attempt(self, store: StoreAddress, wanted: VersionConfig) -> Scorer | str:
        future = self._loaders.submit(lambda: warm(wanted, self._load(store, wanted)))
        try:
            # Read, not raised: whatever a candidate's code does wrong must not cost the replica that serves.
            failure = future.exception(self._deadline_s)
        except TimeoutError:
            self._hung.append(future)
            return f"loading took more than {self._deadline_s:g} s: is the object store reachable from here?"
        return future.result() if failure is None else f"{type(failure).__name__}: {failure}"

    def _finish(self, config: ModelConfig, store: StoreAddress) -> None:
        prepared = self.prepare(config, store)
        self.commit(prepared)
        for name, reason in prepared.refused.items():
            event("gateway", f"refused {name}, what is in force stays: {reason}", name=name, reason=reason)


def _lacks_champion(model: Model) -> bool:
    return model.config.champion is not None and model.champion is None


def _without_withdrawn(before: Model, ordered: Model) -> Model:
    """Return the model before, reachable by its champion's version and by those that are still ordered."""
    digests = {v.digest for v in ordered.config.loaded}
    versions = {v: s for v, s in before.versions.items() if s is before.champion or s.digest in digests}
    return replace(before, versions=versions)
