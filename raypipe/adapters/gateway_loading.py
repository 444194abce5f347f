"""Which models a gateway replica answers with, and how it gets from one generation to the next.

Loading (slow, in a thread, may be refused) and switching (one assignment) are separate steps: `prepare` and
`commit`. Whatever goes wrong with a candidate, the champion in force stays in force. Does not know HTTP or Serve.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from pydantic import ValidationError

from raypipe.adapters.gateway_config import GatewayConfig, VersionConfig
from raypipe.adapters.gateway_state import GatewayState, GatewayStatus, Loader, Model, Prepared, Scorer, Serving, warm
from raypipe.errors import Unavailable
from raypipe.protocol.cells import arrow_schema
from raypipe.telemetry import event

# A load that hangs occupies a thread for good; the second lets later ones load all the same.
_LOADERS = 2


class Switch:
    """Holds the state in force and moves it forward, never back.

    Parameters
    ----------
    load
        Fetches and verifies one bundle; called in a thread.
    deadline_s
        A load that takes longer is refused, and its thread counts as hung until it ends.
    """

    def __init__(self, load: Loader, *, deadline_s: float = 300.0) -> None:
        self.state = GatewayState()
        self._load = load
        self._deadline_s = deadline_s
        self._lock = threading.Lock()
        self._preparers = ThreadPoolExecutor(_LOADERS, thread_name_prefix="prepare")
        self._loaders = ThreadPoolExecutor(_LOADERS, thread_name_prefix="bundle")
        self._hung: list[Future[Scorer]] = []
        self._wanted: GatewayConfig | None = None
        self._refused: Mapping[str, str] = {}

    def reconfigure(self, user_config: object) -> Future[None] | None:
        """Take note of a wanted generation, return at once, and load it in a thread; never raises.

        A lower generation than one already wanted is ignored: a process that wakes up late cannot undo an abort.
        The same one again retries what was refused. What is loaded already (an adoption, an abort) is in force on
        return. Returns the work under way, None where there is nothing to load.
        """
        try:
            config = GatewayConfig.model_validate(user_config)
        except ValidationError as error:
            reasons = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            with self._lock:
                self._refused = {**self._refused, "user_config": f"the gateway's user_config is wrong: {reasons}"}
            return None
        with self._lock:
            if self._settled(config):
                return None
            self._wanted, self._refused = config, {}
        known = self._known()
        if all(v.digest in known for m in config.models for v in m.loaded):
            self.commit(self.prepare(config))
            return None
        return self._preparers.submit(lambda: self._finish(self.prepare(config)))

    def prepare(self, config: GatewayConfig) -> Prepared:
        """Return the models of `config` loaded, verified and warmed, with a reason for each version that is not."""
        known = self._known()
        models: dict[str, Model] = {}
        refused: dict[str, str] = {}
        for model in config.models:
            versions: dict[str, Serving] = {}
            for wanted in model.loaded:
                scorer = known.get(wanted.digest) or self._attempt(config, wanted)
                if isinstance(scorer, str):
                    refused[f"{model.name}/{wanted.version}"] = scorer
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
            # In one step with the switch: nobody may see a generation in force and not what it lacks.
            self._refused = dict(prepared.refused)
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
            return GatewayStatus(
                generation=state.generation,
                wanted=self._wanted.generation if self._wanted else 0,
                champions={m.name: m.champion.version for m in state.models.values() if m.champion},
                loaded={m.name: {v: s.digest for v, s in m.versions.items()} for m in state.models.values()},
                refused=dict(self._refused),
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
        hung = sum(not future.done() for future in self._hung)
        if hung >= _LOADERS:
            raise Unavailable(f"{hung} of {_LOADERS} loading threads hang", system="gateway", address="loader")

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

    def _known(self) -> dict[str, Scorer]:
        return {s.digest: s.scorer for m in self.state.models.values() for s in m.versions.values()}

    def _attempt(self, config: GatewayConfig, wanted: VersionConfig) -> Scorer | str:
        future = self._loaders.submit(lambda: warm(wanted, self._load(config.store, wanted)))
        try:
            # Read, not raised: whatever a candidate's code does wrong must not cost the replica that serves.
            failure = future.exception(self._deadline_s)
        except TimeoutError:
            self._hung.append(future)
            return f"loading took more than {self._deadline_s:g} s: is the object store reachable from here?"
        return future.result() if failure is None else f"{type(failure).__name__}: {failure}"

    def _finish(self, prepared: Prepared) -> None:
        self.commit(prepared)
        for name, reason in prepared.refused.items():
            event("gateway", f"refused {name}, what is in force stays: {reason}", name=name, reason=reason)
