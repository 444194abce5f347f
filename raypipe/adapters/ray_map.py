"""Pure functions mapped over tasks on Ray, a few at a time.

One fused function a task (read, compute, write) costs Ray one scheduling decision and moves no rows through the
object store. Errors that raypipe raises on purpose come back as values and are raised on the driver as themselves.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

import pyarrow as pa
import ray
import ray.data
import ray.exceptions

from raypipe.errors import RaypipeError

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 2  # tasks submitted for each that can run: enough that no worker waits for the driver
_AT_LEAST = 64  # what waits is also what a cluster grows by that has no worker yet


_arrived: dict[str, Any] = {}  # values that came with the task that runs here, by reference


@dataclass(frozen=True, slots=True, eq=False)
class Kept(Generic[T]):
    """A value that stays on the node where a task made it, and travels to whoever takes it, past the driver."""

    _value: T | None
    _reference: Any = None

    def take(self) -> T | None:
        """Return the value; None when the process that made it is gone, and the value with it."""
        if self._reference is None:
            return self._value
        name = self._reference.hex()
        try:
            value: T = _arrived[name] if name in _arrived else ray.get(self._reference)
        except ray.exceptions.ObjectLostError:
            return None
        return value


def keep(value: T) -> Kept[T]:
    """Return the value as one that a task's result may name and that only another task will read."""
    return Kept(None, ray.put(value)) if ray.is_initialized() else Kept(value)


def map_tasks(function: Callable[[T], R], tasks: Sequence[T], *, cpus: float = 1) -> Iterator[R]:
    """Yield the result of each task as it is ready, in no particular order.

    A task whose worker died is run again, three times at most (Ray's own rule).

    Parameters
    ----------
    function
        Importable on the workers; must not depend on the order or the place it runs in.
    tasks
        Picklable values, each worth at least some 10 ms of work. What one has in `needed` (`Kept` values) is where it
        runs before it starts: one that waits for it would make Ray start another worker.
    cpus
        Logical CPUs that one task takes.

    Raises
    ------
    RaypipeError
        The error of the first task that failed on purpose.
    """
    if not tasks:
        return
    # The function travels once, however many tasks there are.
    shared = ray.put(function)
    submit: Any = ray.remote(_run).options(num_cpus=cpus, name=_name(function))
    waiting = iter(tasks)
    running: dict[Any, T] = {}

    def started(task: T, needed: Mapping[str, Any]) -> Any:
        return submit.remote(shared, task, list(needed), *needed.values())

    try:
        while True:
            free = max(0, _room(cpus) - len(running))
            running |= {started(task, _needed(task)): task for task in islice(waiting, free)}
            if not running:
                return
            (done, *_), _ = ray.wait(list(running), num_returns=1)
            task = running.pop(done)
            try:
                result: R | RaypipeError = ray.get(done)
            except ray.exceptions.ObjectLostError:
                if not _needed(task):
                    raise
                running[started(task, {})] = task  # it does without what is lost
                continue
            if isinstance(result, RaypipeError):
                raise result
            yield result
    finally:
        for reference in running:
            ray.cancel(reference)


def _needed(task: object) -> dict[str, Any]:
    found: Sequence[Kept[Any]] = getattr(task, "needed", ())
    return {k._reference.hex(): k._reference for k in found if k._reference is not None}


def quiet(context: ray.data.DataContext) -> None:
    """Leave Ray Data's progress to raypipe's own events."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context.enable_progress_bars = False
    context.print_on_execution_start = False


def _room(cpus: float) -> int:
    """Return how many tasks may be submitted and not done, on the cluster as it is now."""
    resources: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return max(_AT_LEAST, int(resources.get("CPU", 1) / cpus) * _AHEAD)


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(getattr(function, "func", function), "__name__", "task"))


def _run(function: Callable[[T], R], task: T, names: Sequence[str], *values: Any) -> R | RaypipeError:
    pa.set_cpu_count(1)
    _arrived.update(zip(names, values, strict=True))
    try:
        return function(task)
    except RaypipeError as error:
        return error
    finally:
        _arrived.clear()
