"""`raypipe contract`: what a contract executes, and whom a change of it would break. Needs no platform."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from raypipe.cli.exchange import dictionary_page, export_contract, import_schema
from raypipe.contracts.contract import Contract
from raypipe.contracts.evolution import Change, Mode, against, changes
from raypipe.contracts.odcs import load_contract
from raypipe.contracts.readers import Rules
from raypipe.errors import ConfigError
from raypipe.spec_file import read_text

app = typer.Typer()
app.command("export")(export_contract)
app.command("import")(import_schema)
app.command("dictionary")(dictionary_page)


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(help="The contract in force.", metavar="OLD")],
    new: Annotated[Path, typer.Argument(help="The contract that is to follow.", metavar="NEW")],
    history: Annotated[
        list[Path] | None, typer.Option(help="A contract before OLD; once for each, oldest first.", metavar="FILE")
    ] = None,
    mode: Annotated[
        Mode, typer.Option(help="Who must read what: new readers old data, old readers new data, or both.")
    ] = Mode.BACKWARD,
    rules: Annotated[Rules, typer.Option(help="How they read.")] = Rules.LAKE,
) -> None:
    """List what differs between two contracts; exit code 3 when the change breaks somebody whom the mode protects."""
    raise typer.Exit(execute_diff(old, new, history or [], mode, rules))


def execute_diff(old: Path, new: Path, history: list[Path], mode: Mode, rules: Rules) -> int:
    """Print the changes and return the exit code: 0 compatible, 3 breaking."""
    from raypipe.pipeline import PASSED, REFUSED

    if history and not mode.transitive:
        raise ConfigError(
            f"--history has {len(history)} contracts, but {mode} looks only at OLD: say --mode {mode}_TRANSITIVE, "
            "or leave --history away"
        )
    before, after = [_contract(f) for f in (*history, old)], _contract(new)
    found = [(earlier, c) for earlier in against(before, mode) for c in changes(earlier, after)]
    # In a pipe or a log a change is one line.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 1000)
    if found:
        console.print(_table(found, mode, rules))
    broken = any(c.breaks(mode, rules) for _, c in found)
    console.print(f"breaking under {mode} by {rules}" if broken else "compatible", soft_wrap=True)
    return REFUSED if broken else PASSED


@app.command()
def lint(files: Annotated[list[Path], typer.Argument(help="Contracts.", metavar="FILE...")]) -> None:
    """Say of each contract what is executed on its rows; exit code 2 at the first rule that cannot be."""
    console = Console(highlight=False)
    for file in files:
        contract = _contract(file)
        console.print(f"{file}: {_summary(contract)}", soft_wrap=True, markup=False)


def _contract(file: Path) -> Contract:
    return load_contract(read_text(file, "the contract"), str(file))


def _table(found: list[tuple[Contract, Change]], mode: Mode, rules: Rules) -> Table:
    table = Table("since", "what", "old", "new", "backward", "forward", "", box=None)
    for earlier, c in found:
        said = [Text(text, overflow="fold") for text in (earlier.version, c.path, c.old, c.new)]
        reads = ["yes" if rules in direction else "no" for direction in (c.backward, c.forward)]
        table.add_row(*said, *reads, "breaks" if c.breaks(mode, rules) else "")
    return table


def _summary(contract: Contract) -> str:
    refusing = _by_rule((rule, f.name) for f in contract.fields for rule in f.rules)
    warning = _by_rule((rule, f.name) for f in contract.fields for rule in f.warned.rules)
    refusing += [e.name for e in contract.expressions if e.severity == "error"]
    warning += [e.name for e in contract.expressions if e.severity == "warning"]
    table = [f"{r.name} {r.must} {r.unit}".rstrip() + f" ({r.severity})" for r in contract.table_rules]
    classes = [f"{f.name} {f.classification}" for f in contract.fields if f.classification]
    said = {
        "executed rules": ["type(*)", *refusing],
        "warnings": warning,
        "table rules": table,
        "retention": [contract.retention.text] if contract.retention else [],
        "classification (recorded)": classes,
    }
    listed = "; ".join(f"{what}: {', '.join(parts)}" for what, parts in said.items() if parts)
    return f"{len(contract.fields)} columns, key {', '.join(contract.key)}; {listed}"


def _by_rule(pairs: Iterable[tuple[str, str]]) -> list[str]:
    columns: dict[str, list[str]] = {}
    for rule, column in pairs:
        columns.setdefault(rule, []).append(column)
    return [f"{rule}({', '.join(names)})" for rule, names in columns.items()]
