"""`raypipe contract export`, `import` and `dictionary`: contracts in other notations, and as a page for people."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import yaml
from rich.console import Console
from rich.text import Text

from raypipe.contracts.exchange.carried import Exported, Notation, Outline
from raypipe.errors import ConfigError
from raypipe.spec_file import read_text

if TYPE_CHECKING:
    from raypipe.contracts.described import Described, Note
    from raypipe.contracts.dictionary import Source

Output = Annotated[Path | None, typer.Option(help="Where to write it.", show_default="standard output", metavar="FILE")]

_SUFFIXES = {".avsc": Notation.AVRO, ".proto": Notation.PROTOBUF, ".json": Notation.JSON_SCHEMA}


def export_contract(
    contract: Annotated[Path, typer.Argument(help="The contract.", metavar="CONTRACT")],
    to: Annotated[Notation, typer.Option(help="What it is written as.")],
    output: Output = None,
) -> None:
    """Write a contract as an Avro schema, a .proto file or a JSON Schema; say what a reader of that does not check."""
    from raypipe.contracts.described import describe

    exported = _exported(describe(read_text(contract, "the contract"), str(contract)), to)
    _report(exported.notes)
    _write(exported.text, output)


def import_schema(
    schema: Annotated[Path, typer.Argument(help="An .avsc, .proto or .json file.", metavar="FILE")],
    from_: Annotated[
        Notation | None, typer.Option("--from", help="What it is written in.", show_default="by its suffix")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the source; which message of a .proto file.", show_default="the schema's"),
    ] = None,
    key: Annotated[
        list[str] | None, typer.Option(help="A column that identifies an event; once for each.", metavar="COLUMN")
    ] = None,
    event_at: Annotated[str | None, typer.Option(help="When it happened.", metavar="COLUMN")] = None,
    known_at: Annotated[
        str | None, typer.Option(help="When it could be known.", metavar="COLUMN", show_default="its arrival")
    ] = None,
    output: Output = None,
) -> None:
    """Write the contract that a schema makes; say what of the schema it does not have."""
    from raypipe.contracts.exchange.assemble import Wanted, assemble

    notation = from_ or _SUFFIXES.get(schema.suffix)
    if notation is None:
        raise ConfigError(
            f"{schema}: the suffix {schema.suffix!r} does not say what this is written in: say --from with one of "
            f"{', '.join(_SUFFIXES.values())}"
        )
    outline = _outline(schema, notation, name)
    imported = assemble(outline, Wanted(name, key or [], event_at, known_at), str(schema))
    _report(imported.notes)
    _write(imported.text, output)


def dictionary_page(
    files: Annotated[
        list[Path], typer.Argument(help="Pipeline files, contracts, or both.", metavar="CONFIG|CONTRACT...")
    ],
    output: Annotated[Path, typer.Option(help="The page: a .html or a .md file.", metavar="FILE")],
) -> None:
    """Write a data dictionary: every source, its columns and rules, and which features use them."""
    from raypipe.contracts.dictionary import dictionary

    page = output.suffix.removeprefix(".")
    if page not in ("html", "md"):
        raise ConfigError(f"--output {output}: the suffix is {output.suffix!r}, and a page is .html or .md")
    names, sources = _sources(files)
    title = f"Data dictionary of {', '.join(names)}" if names else "Data dictionary"
    _write(dictionary(title, sources, "html" if page == "html" else "md"), output)


def _sources(files: list[Path]) -> tuple[list[str], list[Source]]:
    """Return the names of the pipelines, and every source once, with all its uses."""
    from raypipe.config import load
    from raypipe.contracts.described import describe
    from raypipe.contracts.dictionary import Source
    from raypipe.features.uses import uses_of_columns

    names: list[str] = []
    found: dict[Path, Source] = {}
    for file in files:
        text = read_text(file, "the file")
        if _is_contract(text):
            described = describe(text, str(file))
            found.setdefault(file.resolve(), Source(described.contract.name, described))
            continue
        spec = load(file).spec
        names.append(spec.name)
        uses = uses_of_columns(spec.features, spec.label)
        for name, source in spec.sources.items():
            contract = file.parent / source.contract
            described = describe(read_text(contract, "the contract"), str(contract))
            before = found.get(contract.resolve())
            together = {c: (before.uses or {}).get(c, ()) if before else () for c in described.contract.schema.names}
            for column, words in uses.get(name, {}).items():
                together[column] = tuple(dict.fromkeys((*together[column], *words)))
            found[contract.resolve()] = Source(name, described, together)
    return names, list(found.values())


def _is_contract(text: str) -> bool:
    """Return whether the file is a contract; what is no YAML at all is left to the reader of pipelines."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        return False
    return isinstance(content, dict) and ("apiVersion" in content or content.get("kind") == "DataContract")


def _exported(described: Described, to: Notation) -> Exported:
    match to:
        case Notation.AVRO:
            from raypipe.contracts.exchange.to_avro import to_avro as write
        case Notation.PROTOBUF:
            from raypipe.contracts.exchange.to_protobuf import to_protobuf as write
        case Notation.JSON_SCHEMA:
            from raypipe.contracts.exchange.to_json_schema import to_json_schema as write
        case Notation.ODCS:
            from raypipe.contracts.exchange.carried import to_odcs as write
    exported = write(described)
    return Exported(exported.text, (*described.notes, *exported.notes))


def _outline(schema: Path, notation: Notation, name: str | None) -> Outline:
    text = read_text(schema, "the schema")
    match notation:
        case Notation.AVRO:
            from raypipe.contracts.exchange.from_avro import read_avro_schema

            return read_avro_schema(text, str(schema))
        case Notation.JSON_SCHEMA:
            from raypipe.contracts.exchange.from_json_schema import read_json_schema

            return read_json_schema(text, str(schema))
        case Notation.PROTOBUF:
            from raypipe.adapters.protoc import compile_proto
            from raypipe.contracts.exchange.from_protobuf import read_protobuf

            return read_protobuf(compile_proto(schema), name, str(schema))
        case Notation.ODCS:
            raise ConfigError(f"{schema}: a contract need not be imported: use it as it is")


def _report(notes: Iterable[Note]) -> None:
    """Say on stderr what does not come along, so that a pipe gets the file alone."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for note in notes:
        console.print(Text(str(note)))


def _write(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text)
    except OSError as error:
        raise ConfigError(f"{output} cannot be written: {error.strerror}") from error
