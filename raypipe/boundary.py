"""The lines between two durable effects, named, so that a run can be killed at each of them.

Every effect that outlives the process happens inside `with boundary(name)`. With `RAYPIPE_STOP_AT=before EFFECT`
(or `after EFFECT`) the process stops itself there with SIGSTOP and waits for whoever watches to kill it; with
`RAYPIPE_BOUNDARIES=FILE` the boundaries reached are appended to the file. Both exist for the crash tests.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def boundary(effect: str) -> Iterator[None]:
    """Mark the moment before and the moment after an effect that outlives the process.

    Parameters
    ----------
    effect
        What happens, and after a colon to what, such as `commit decisions: release/flights 2`.
    """
    _reach(f"before {effect}")
    yield
    _reach(f"after {effect}")


def _reach(point: str) -> None:
    if trace := os.environ.get("RAYPIPE_BOUNDARIES"):
        with Path(trace).open("a") as file:
            file.write(f"{point}\n")
    if os.environ.get("RAYPIPE_STOP_AT") == point:
        os.kill(os.getpid(), signal.SIGSTOP)
