"""The command line: each noun is a module of its own, imported only when it is asked for.

Knows names and one-line descriptions, so that `raypipe --help` needs no library. A new command is one line in
`COMMANDS`.
"""

from __future__ import annotations

import contextlib
import getpass
import importlib
import logging
import os
import socket
import sys
from collections.abc import Callable

import typer
from rich.console import Console
from rich.text import Text

from raypipe.errors import RaypipeError

COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("raypipe.cli.platform", "Start what the environment file says is embedded; repair what died."),
    "status": ("raypipe.cli.platform", "Show every part: state, address, process, ports. Exit 0 when all are up."),
    "down": ("raypipe.cli.platform", "End every process that `up` started, and nothing else."),
    "ingest": ("raypipe.cli.ingest", "Ingest what has landed, and nothing else."),
    "report": ("raypipe.cli.report", "Fetch the quality report of what was ingested, and open it."),
    "metrics": ("raypipe.cli.metrics", "Tell Prometheus what was ingested, refused and halted."),
    "stream": ("raypipe.cli.stream", "Read a source's messages while they arrive, exactly once."),
    "contract": ("raypipe.cli.contract", "Check, compare, export, import and describe contracts, without data."),
    "dlq": ("raypipe.cli.dlq", "List what was refused, check it again after a contract was mended, or drop it."),
    "maintain": ("raypipe.cli.maintain", "Remove rows past their retention, merge small files, delete unneeded ones."),
    "release": ("raypipe.cli.release", "Start, watch, resume, abort or undo the release of a version."),
    "explain": ("raypipe.cli.explain", "Say why a prediction, a version or a rollout came out as it did."),
    "trace": ("raypipe.cli.explain", "Draw where it came from: decisions, run, data, contracts, code."),
    "monitor": ("raypipe.cli.monitor", "Compare what was answered with what was learned; retrain when it must be."),
    "run": ("raypipe.cli.run", "Ingest, build features, train, validate, register and release."),
}


def build(arguments: list[str]) -> typer.Typer:
    """Return the application for these arguments: the command they name in full, the others as names only."""
    app = typer.Typer(
        help="From raw events to a model that earned its traffic, on one Ray cluster, from one file.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_program)
    asked = next((a for a in arguments if not a.startswith("-")), None)
    for name, (module, summary) in COMMANDS.items():
        if name == asked:
            noun = importlib.import_module(module).app
            of_this_name = [c for c in noun.registered_commands if (c.name or c.callback.__name__) == name]
            if of_this_name:
                app.registered_commands += of_this_name
            else:
                app.add_typer(noun, name=name, help=summary, no_args_is_help=True)
        else:
            app.command(name, help=summary)(_named_only)
    return app


def _program() -> None:
    """Hold the options of the program itself: none yet."""


def _named_only() -> None:
    raise AssertionError("a command that is asked for is imported by `build`")


def report_errors(action: Callable[[], int | None]) -> int:
    """Return the action's exit code; an error of ours becomes one sentence on stderr and its own exit code.

    Anything unexpected passes through: a traceback is the right report of a defect.
    """
    try:
        return action() or 0
    except RaypipeError as error:
        Console(stderr=True, highlight=False).print(Text(error.message, style="red"), soft_wrap=True)
        return error.exit_code


def operator() -> str:
    """Return who decides at this terminal, for the record: user and machine."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def main() -> None:
    """Run the command line and end the process with its exit code.

    Not by the interpreter's own way out: threads of native libraries that still wait for the network can abort the
    process there, whose exit code is then theirs.
    """
    try:
        code = report_errors(build(sys.argv[1:]))
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)
