"""Pure functions mapped over tasks on Ray Data: the rows of the dataset are the tasks.

One fused function a task (read, compute, write) costs Ray one scheduling decision and moves no rows through the
object store. Errors that raypipe raises on purpose come back as values and are raised on the driver as themselves.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa
import ray.data

from raypipe.errors import RaypipeError

T = TypeVar("T")
R = TypeVar("R")


def map_tasks(function: Callable[[T], R], tasks: Sequence[T], *, cpus: float = 1) -> Iterator[R]:
    """Yield the result of each task as it is ready, in no particular order.

    Parameters
    ----------
    function
        Importable on the workers; must not depend on the order or the place it runs in.
    tasks
        Picklable values, each worth at least some 10 ms of work.
    cpus
        Logical CPUs that one task takes.

    Raises
    ------
    RaypipeError
        The error of the first task that failed on purpose.
    """
    if not tasks:
        return
    rows = [{"task": pickle.dumps(task)} for task in tasks]
    quiet(ray.data.DataContext.get_current())
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        partial(_run, function), batch_size=1, batch_format="pyarrow", num_cpus=cpus
    )
    for row in dataset.iter_rows():
        result = pickle.loads(row["result"])
        if isinstance(result, RaypipeError):
            raise result
        yield result


def quiet(context: ray.data.DataContext) -> None:
    """Leave progress to raypipe's own events."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context.enable_progress_bars = False
    context.print_on_execution_start = False


def _run(function: Callable[[T], R], batch: Any) -> pa.Table:
    try:
        result: R | RaypipeError = function(pickle.loads(batch.column("task")[0].as_py()))
    except RaypipeError as error:
        result = error
    return pa.table({"result": [pickle.dumps(result)]})
