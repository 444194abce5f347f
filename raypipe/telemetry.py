"""Structured events: what a flow decides and how far it is, one line each.

A person at a terminal reads a sentence; with `RAYPIPE_LOG=json` a machine reads one JSON object a line. Events go
to stderr, so that stdout carries results. Secrets never get here: events name references, not values.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime

from rich.console import Console
from rich.markup import escape

_CONSOLE = Console(stderr=True, highlight=False, soft_wrap=True)
_STARTED = time.monotonic()


def event(stage: str, sentence: str, **fields: object) -> None:
    """Write one event.

    Parameters
    ----------
    stage
        The stage of the main path that speaks, such as `ingest`.
    sentence
        What a person reads.
    fields
        The numbers in it, for machines.
    """
    if os.environ.get("RAYPIPE_LOG") == "json":
        record = {"at": datetime.now(UTC).isoformat(), "stage": stage, "message": sentence, **fields}
        sys.stderr.write(json.dumps(record, default=str) + "\n")
        return
    seconds = time.monotonic() - _STARTED
    _CONSOLE.print(f"[dim]{seconds:6.1f}s[/dim] [cyan]{stage:<9}[/cyan] {escape(sentence)}")
