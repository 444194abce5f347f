"""`raypipe dlq`: what was refused and why, checked again after a contract was mended, or given up.

Needs the store alone, no cluster. Knows tables and words; does not know how letters are kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from raypipe.cli import operator
from raypipe.cli.dlq_report import SHORT, at, counts, show_replayed, table
from raypipe.config import load
from raypipe.environment import endpoints, home
from raypipe.errors import ConfigError
from raypipe.spec import parse_duration

if TYPE_CHECKING:
    from raypipe.adapters.lake.letters import Selection
    from raypipe.adapters.lake.store import Store

app = typer.Typer()

Ids = Annotated[list[str] | None, typer.Argument(help="Letters, by the beginning of their ids.", metavar="[ID]...")]
Source = Annotated[list[str] | None, typer.Option(help="Only this source; may be repeated.", metavar="NAME")]
Rule = Annotated[
    str | None, typer.Option("--reason", "--rule", help="Only what was refused so: range(wind_speed), or range.")
]
Broken = Annotated[str | None, typer.Option(help="Only what was refused so: range(wind_speed), or range.")]
Generation = Annotated[int | None, typer.Option(help="Only of this ingest generation.")]
Since = Annotated[str | None, typer.Option(help="Only refused since: 6h, 7d, or 2026-01-31T00:00:00Z.")]
Env = Annotated[
    str | None, typer.Option(help="Environment: a name below configs/env, or a file.", show_default="the one up")
]


@app.command("list")
def list_(
    config: Annotated[
        Path | None, typer.Argument(help="A pipeline file, for its sources alone.", show_default="every source")
    ] = None,
    source: Source = None,
    reason: Rule = None,
    since: Since = None,
    generation: Generation = None,
    status: Annotated[str | None, typer.Option(help="Only open, replayed or dropped.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="How many of the newest letters are listed.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    env: Env = None,
) -> None:
    """Count refused records by source, reason, contract version and status; then list the newest."""
    from raypipe.adapters.lake.letters import DeadLetters

    sources = source or (list(load(config).spec.sources) if config else [])
    letters = DeadLetters(_store(env)).outlines(_selection(None, sources, reason, generation, since, status))
    counted, newest = counts(letters), letters.reverse().sort("known_at", descending=True, maintain_order=True)
    newest = newest.head(limit)
    if as_json:
        typer.echo(json.dumps({"counts": counted.to_dicts(), "letters": newest.to_dicts()}, default=_iso))
        return
    console = Console(highlight=False)
    if letters.is_empty():
        console.print("no dead letter: nothing was refused, or nothing of this selection")
        return
    console.print(table(counted.columns, counted.iter_rows()))
    if limit:
        shown = ("letter", "refused at (UTC)", "source", "generation", "status", "reasons", "from")
        rows = (
            (
                r["letter_id"][:SHORT],
                f"{r['known_at']:%Y-%m-%d %H:%M:%S}",
                *(r["source"], r["generation"], r["status"], ", ".join(r["reasons"]), r["source_position"]),
            )
            for r in newest.iter_rows(named=True)
        )
        console.print(f"\nthe newest {newest.height} of {letters.height:,}:")
        console.print(table(shown, rows))


@app.command()
def show(
    letter: Annotated[str, typer.Argument(help="The letter, by the beginning of its id.", metavar="ID")],
    config: Annotated[
        Path | None, typer.Option(help="The pipeline file whose contract says which columns are public.")
    ] = None,
    unmask: Annotated[
        bool, typer.Option("--unmask", help="Show every value; who looked is recorded as a decision.")
    ] = False,
    env: Env = None,
) -> None:
    """Show one letter: why it was refused, where it came from, what it holds, what was decided about it."""
    from raypipe.adapters.dlq import DeadLetterQueue
    from raypipe.adapters.lake.letters import DeadLetters
    from raypipe.contracts.letters import masked
    from raypipe.wiring import now

    store = _store(env)
    letters = DeadLetters(store)
    found = letters.with_payloads(letters.outlines(_selection([letter]))).to_dicts()[0]
    raw = found["raw"]
    if unmask:
        DeadLetterQueue(store, now).unmask(found["letter_id"], found["source"], who=operator())
    elif raw:
        raw = masked(raw, load(config).contracts.get(found["source"]) if config else None)
    console = Console(highlight=False, soft_wrap=True)
    for name, said in (
        ("letter", found["letter_id"]),
        ("source", found["source"]),
        ("status", found["status"]),
        ("reasons", ", ".join(found["reasons"])),
        ("contract", found["contract_version"]),
        ("from", found["source_position"]),
        ("generation", found["generation"]),
        ("refused at", at(found["known_at"])),
        ("payload", raw or "(none: the object could not be opened)"),
    ):
        console.print(f"{name:<11}{said}", markup=False)
    if raw != found["raw"]:
        console.print("           what is masked is not public: name the pipeline with --config, or say --unmask")
    for said in _history(store, found["letter_id"], found["source"]):
        console.print(f"{'history':<11}{said}", markup=False)


@app.command()
def replay(
    config: Annotated[Path, typer.Argument(help="The pipeline file.")],
    ids: Ids = None,
    source: Source = None,
    reason: Rule = None,
    since: Since = None,
    generation: Generation = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and change nothing.")] = False,
    env: Env = None,
) -> None:
    """Check open letters under the present contract; those that keep it become events, the others stay open."""
    from raypipe.adapters.dlq import DeadLetterQueue
    from raypipe.wiring import now

    pipeline = load(config)
    queue = DeadLetterQueue(_store(env), now)
    chosen = _selection(ids, source, reason, generation, since)
    done = queue.replay(pipeline, chosen, who=operator(), dry_run=dry_run)
    show_replayed(done, pipeline, dry_run=dry_run)


@app.command()
def drop(
    ids: Ids = None,
    why: Annotated[str, typer.Option("--reason", help="Why, for the record.", show_default=False)] = "",
    source: Source = None,
    rule: Broken = None,
    since: Since = None,
    generation: Generation = None,
    env: Env = None,
) -> None:
    """Give letters up: they stay in the lake as evidence, and no replay takes them unless it names them."""
    if not why.strip():
        raise ConfigError("say why with --reason TEXT: it is recorded beside your name")
    if not (ids or source or rule or since or generation is not None):
        raise ConfigError("say which letters: their ids, or --source, --rule, --since, --generation")
    from raypipe.adapters.dlq import DeadLetterQueue
    from raypipe.wiring import now

    chosen = _selection(ids, source, rule, generation, since)
    dropped = DeadLetterQueue(_store(env), now).drop(chosen, who=operator(), why=why)
    console = Console(highlight=False, soft_wrap=True)
    for name, count in dropped.items():
        console.print(f"{name}: {count:,} letters are dropped: {why}", markup=False)
    if not dropped:
        console.print("no open letter is of this selection: nothing was dropped")


def _store(env: str | None) -> Store:
    from raypipe.adapters.lake.store import Store
    from raypipe.local.state import environment_in_force

    return Store(endpoints(environment_in_force(env, home()), home()).store)


def _selection(
    ids: Sequence[str] | None = None,
    sources: Sequence[str] | None = None,
    reason: str | None = None,
    generation: int | None = None,
    since: str | None = None,
    status: str | None = None,
) -> Selection:
    from raypipe.adapters.lake.letters import LetterStatus, Selection

    if status is not None and status not in list(LetterStatus):
        raise ConfigError(f"--status is {status!r}: it is one of {', '.join(LetterStatus)}")
    return Selection(
        ids=tuple(ids or ()),
        sources=tuple(sources or ()),
        reason=reason,
        generation=generation,
        since=_moment(since) if since else None,
        status=LetterStatus(status) if status else None,
    )


def _moment(since: str) -> datetime:
    try:
        return datetime.now(UTC) - parse_duration(since)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(since)
    except ValueError as error:
        raise ConfigError(f"--since is {since!r}: give a duration such as 6h, or a time in ISO 8601") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _history(store: Store, letter_id: str, source: str) -> Iterable[str]:
    from raypipe.adapters.lake.decisions import Decisions
    from raypipe.adapters.lake.fates import UNMASK, stream_of
    from raypipe.adapters.lake.letters import DeadLetters

    fates = DeadLetters(store).history(letter_id).iter_rows(named=True)
    said = [(f["at"], f"{f['fate']} by {f['who']}: {f['why']}") for f in fates]
    for d in Decisions(store).stream(stream_of(source)):
        if d.what == UNMASK and json.loads(d.evidence)["letter"] == letter_id:
            said.append((d.at, f"shown in full to {d.who}"))
    return [f"{at(moment)} {what}" for moment, what in sorted(said)]


def _iso(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
