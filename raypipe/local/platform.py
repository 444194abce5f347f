"""`up`, `status` and `down` of the platform of one home.

`up` makes it so: what lives and answers is left alone, what died is started again, what is somebody else's is only
asked. Knows parts, processes and health; does not print (the caller gives a `say`).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from raypipe.adapters.lake.store import Store
from raypipe.environment import (
    DirectoryStorage,
    EmbeddedStorage,
    Endpoints,
    EnvironmentSpec,
    endpoints,
)
from raypipe.errors import RaypipeError, Unavailable
from raypipe.local import health
from raypipe.local.health import PartHealth
from raypipe.local.parts import Part, buckets, checked_extras, embedded_parts, has_kafka
from raypipe.local.ports import Listener, any_free, listeners, require_free
from raypipe.local.processes import ProcessId, alive, end, marked, platform_id, spawn
from raypipe.local.ray_part import ray_temp_dir, socket_dir
from raypipe.local.secrets import private_directory
from raypipe.local.state import PartState, PlatformState, load_state, locked, save_state

Say = Callable[[str], None]

_READY = {
    "storage": health.require_storage,
    "registry": health.require_registry,
    "ray": health.require_ray,
    "kafka": health.require_kafka,
}
START_DEADLINE_S = 90.0


@dataclass(frozen=True, slots=True)
class PlatformStatus:
    """What runs, as it was found.

    Parameters
    ----------
    environment_file
        The file it was brought up with; None when nothing was.
    pids
        First process of each embedded part that lives.
    listeners
        Every port that the platform's processes listen on.
    """

    environment_file: str | None
    parts: tuple[PartHealth, ...]
    pids: dict[str, int]
    listeners: tuple[Listener, ...]

    @property
    def up(self) -> bool:
        """Whether every part answers; a platform without parts is not up."""
        return bool(self.parts) and all(p.up for p in self.parts)


def up(spec: EnvironmentSpec, file: str, home: Path, say: Say, extras: Sequence[str] = ()) -> Endpoints:
    """Return where everything is; afterwards every part of `spec` answers.

    Parameters
    ----------
    extras
        Parts to run that are not run by themselves (`kafka`); once they were asked for, until `down`.

    Raises
    ------
    ConfigError
        When the environment has no such part.
    PortTaken
        When a port of a part that must be started is held by another process.
    Unavailable, AccessDenied
        When a part does not start, or an existing one does not answer.
    """
    # An existing directory keeps its mode (it may be somebody's choice); what is secret has a mode of its own below.
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(home, lambda: say("another `raypipe up` or `down` is at work here: waiting for it")):
        state = _attach(spec, file, home)
        state = state.model_copy(
            update={"extras": tuple(dict.fromkeys((*state.extras, *checked_extras(extras, spec))))}
        )
        try:
            _make_it_so(state, home, say)
        except TimeoutError as error:
            raise RaypipeError(f"the platform cannot be repaired: {error}") from error
    where = endpoints(spec, home)
    health.require(where, kafka=has_kafka(spec, state.extras))
    return where


def _attach(spec: EnvironmentSpec, file: str, home: Path) -> PlatformState:
    """Return the state to continue with: the remembered one when it has the same settings."""
    known = load_state(home)
    mark = platform_id(home)
    if known is None or not marked(mark):
        return PlatformState(environment_file=file, environment=spec)
    if known.environment != spec:
        raise RaypipeError(
            f"the platform at {home} is up with other settings ({known.environment_file}, before it was changed or "
            "another file was named): run `raypipe down` first",
            home=home,
        )
    return known


def _make_it_so(state: PlatformState, home: Path, say: Say) -> None:
    spec, mark = state.environment, platform_id(home)
    sockets = private_directory(socket_dir(home))
    where = endpoints(spec, home)
    ports = dict(state.chosen_ports)

    def choose(name: str, preferred: int) -> int:
        ports.setdefault(name, any_free(preferred, ports.values()))
        return ports[name]

    if isinstance(spec.storage, DirectoryStorage):
        Path(where.store.lake).mkdir(parents=True, exist_ok=True)
    parts = embedded_parts(spec, home, sockets, choose, state.extras)
    missing = [p for p in parts if not _runs(p, state, where)]
    for part in parts:
        if part not in missing:
            say(f"{part.name} is already up")
    for part in missing:
        left = _end(mark, part.name)
        if left:
            say(f"{part.name} was dead or deaf: ended {left} left-over processes")
    require_free([port for part in missing for port in part.ports], state.environment_file)
    began = time.monotonic()
    running = dict(state.parts)
    save_state(home, state)
    for part in missing:
        process = spawn(part.command, part.env, _log(home, part.name), mark=mark, part=part.name)
        running[part.name] = PartState(pid=process.pid, started_at_s=process.started_at_s)
        # Saved after each start: killed here, the next `up` finds what was started.
        state = state.model_copy(update={"chosen_ports": ports, "parts": running})
        save_state(home, state)
    _await_ready(missing, running, where, home, lambda text: say(f"{text} after {time.monotonic() - began:.1f} s"))
    if isinstance(spec.storage, EmbeddedStorage):
        _ensure_buckets(spec.storage, where)
    if "ray" in running:
        # Ray makes its session writable for everybody.
        ray_temp_dir(home, sockets).chmod(0o700)


def _runs(part: Part, state: PlatformState, where: Endpoints) -> bool:
    known = state.parts.get(part.name)
    if known is None or not alive(known.process):
        return False
    try:
        _READY[part.name](where)
    except RaypipeError:
        return False
    return True


def _await_ready(parts: list[Part], running: dict[str, PartState], where: Endpoints, home: Path, say: Say) -> None:
    deadline = time.monotonic() + START_DEADLINE_S
    waiting = list(parts)
    while waiting:
        for part in list(waiting):
            problem = _problem(part.name, where)
            if problem is None:
                say(f"{part.name} is up")
                waiting.remove(part)
            elif not alive(running[part.name].process):
                raise _did_not_start(part.name, home, "it ended by itself")
            elif time.monotonic() > deadline:
                raise _did_not_start(part.name, home, f"after {START_DEADLINE_S:.0f} s: {problem.message}")
        time.sleep(0.1)


def _problem(name: str, where: Endpoints) -> RaypipeError | None:
    try:
        _READY[name](where)
    except RaypipeError as error:
        return error
    return None


def _did_not_start(name: str, home: Path, why: str) -> Unavailable:
    log = _log(home, name)
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    last = lines[-1] if lines else "nothing"
    return Unavailable(
        f"{name} did not start ({why}): the last line of {log} is: {last[:300]}", system=name, address=str(log)
    )


def _ensure_buckets(spec: EmbeddedStorage, where: Endpoints) -> None:
    store = Store(where.store)
    for bucket in buckets(spec):
        store.ensure_bucket(f"s3://{bucket}/")


def _log(home: Path, part: str) -> Path:
    return private_directory(home / "logs") / f"{part}.log"


def status(home: Path, spec: EnvironmentSpec | None = None) -> PlatformStatus:
    """Return what runs at `home`, judged against `spec`, or against the settings it was brought up with."""
    state = load_state(home)
    wanted = spec or (state.environment if state else None)
    mine = marked(platform_id(home))
    pids = {name: p.pid for name, p in state.parts.items() if alive(p.process)} if state else {}
    started = dict(state.parts) if state else {}
    kafka = wanted is not None and has_kafka(wanted, state.extras if state else ())
    found = health.check(endpoints(wanted, home), kafka=kafka) if wanted else []
    return PlatformStatus(
        environment_file=state.environment_file if state else None,
        parts=tuple(_orphaned(p) if p.part in started and p.part not in pids else p for p in found),
        pids=pids,
        listeners=tuple(listeners(p.pid for p in mine)),
    )


def _orphaned(part: PartHealth) -> PartHealth:
    """Return a part as down when its first process is dead, even if some of its children still answer."""
    if part.problem:
        return part
    problem = Unavailable(
        f"{part.part} still answers at {part.address}, but the process that runs it is dead: run `raypipe up`",
        system=part.part,
        address=part.address,
    )
    return replace(part, problem=problem)


def down(home: Path, say: Say) -> int:
    """Return how many processes were ended; afterwards none of this platform lives and its ports are free.

    Raises
    ------
    RaypipeError
        When a process survives, or a port stays taken.
    """
    if not home.is_dir():
        return 0
    with locked(home, lambda: say("another `raypipe up` or `down` is at work here: waiting for it")):
        return _down(home, say)


def _down(home: Path, say: Say) -> int:
    mark = platform_id(home)
    held = {f.port for f in listeners(p.pid for p in marked(mark))}
    # Ray and Kafka first: they may still write to the store.
    counts = {part: _end(mark, part) for part in ("ray", "kafka", "registry", "storage")}
    for part, count in counts.items():
        if count:
            say(f"{part} is down ({count} processes ended)")
    end(lambda: marked(mark))
    _await_released(held)
    shutil.rmtree(ray_temp_dir(home, socket_dir(home)), ignore_errors=True)
    shutil.rmtree(socket_dir(home), ignore_errors=True)
    (home / "state.json").unlink(missing_ok=True)
    return sum(counts.values())


def _await_released(ports: set[int], deadline_s: float = 10.0) -> None:
    """Return when nobody, or a stranger, listens on each port; an ending process closes its sockets a little later.

    A connection that outlives its process in the kernel is not waited for: a server can listen beside it.
    """
    deadline = time.monotonic() + deadline_s
    while taken := sorted(f.port for f in listeners() if f.port in ports and not f.pid):
        if time.monotonic() > deadline:
            raise RaypipeError(f"every process was ended, but ports {taken} are still taken: `ss -ltnp` says by whom")
        time.sleep(0.1)


def _end(mark: str, part: str) -> int:
    # The store flushes on SIGTERM (2 s measured). Ray has nothing to save, and some of it does not listen.
    return end(lambda: marked(mark, part), grace_s=2.0 if part == "ray" else 10.0)


def first_process(home: Path, part: str) -> ProcessId | None:
    """Return the first process of an embedded part, alive or not; None when it was never started."""
    state = load_state(home)
    known = state.parts.get(part) if state else None
    return known.process if known else None
