"""Contracts as a page that people read: a data dictionary in HTML or Markdown.

Everything on it is in the contracts, and the page is the same whenever it is made. Knows what a contract says. Does not
know files, nor where a column's uses come from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

from raypipe.contracts.described import Column, Described, listed, mapped
from raypipe.contracts.words import rules_in_words, table_rules_in_words

Page = Literal["html", "md"]

_SLA_NAMES = {"re": "retention", "ly": "latency", "fy": "frequency", "av": "availability"}


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One source of the page.

    Parameters
    ----------
    name
        What the pipeline calls it, or the contract.
    described
        Its contract.
    uses
        Column -> what it becomes, in words; none where no pipeline was asked.
    """

    name: str
    described: Described
    uses: Mapping[str, tuple[str, ...]] | None = None


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    roles: tuple[str, ...]
    type: str
    required: bool
    rules: tuple[str, ...]
    classification: str
    description: str
    examples: tuple[str, ...]
    uses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    description: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]
    rules: tuple[str, ...]
    rows: tuple[_Row, ...]
    has_uses: bool


def dictionary(title: str, sources: Sequence[Source], page: Page) -> str:
    """Return the page.

    Parameters
    ----------
    title
        Its heading.
    sources
        What is on it, in order.
    page
        HTML, which needs no other file, or Markdown of GitHub's flavour.
    """
    environment = Environment(
        loader=PackageLoader("raypipe.contracts", ""),
        autoescape=page == "html",
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"text": markdown_text, "code": markdown_code}
    template = environment.get_template(f"dictionary.{page}.jinja")
    return template.render(title=title, sections=[_section(source) for source in sources])


def markdown_text(value: str) -> str:
    """Return the text on one line, no character of which means anything in Markdown or in a table of it."""
    line = " ".join(value.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    escaped = re.sub(r"([\\`*_{}\[\]|~#$])", r"\\\1", line)
    # What begins like an item of a list.
    return re.sub(r"^(\d*)([-+.)])", r"\1\\\2", escaped)


def markdown_code(value: str) -> str:
    """Return the text as code within a table, whose only special characters are bars and backticks."""
    line = " ".join(value.split()).replace("|", "\\|")
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence, space = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{space}{line}{space}{fence}" if line else ""


def _section(source: Source) -> _Section:
    described = source.described
    return _Section(
        name=source.name,
        description=tuple(_description(described)),
        facts=tuple(_facts(described)),
        rules=table_rules_in_words(described.schema),
        rows=tuple(_row(column, source) for column in described.columns),
        has_uses=source.uses is not None,
    )


def _description(described: Described) -> Iterator[tuple[str, str]]:
    if said := described.schema.get("description"):
        yield "", str(said)
    written = described.stated.get("description")
    purpose = mapped(written) if isinstance(written, Mapping) else {"purpose": written}
    for key, label in (("purpose", ""), ("usage", "Usage"), ("limitations", "Limitations")):
        if purpose.get(key):
            yield label, str(purpose[key])


def _facts(described: Described) -> Iterator[tuple[str, str]]:
    contract, stated = described.contract, described.stated
    owner = _owner(stated.get("team"))
    facts = [
        ("Owner", owner),
        ("Version", contract.version),
        ("Status", stated.get("status")),
        ("Domain", stated.get("domain")),
        ("One row is", described.schema.get("dataGranularityDescription")),
        ("Key", ", ".join(contract.key)),
        ("Happened at", contract.event_at),
        ("Known at", contract.known_at or "the arrival of its object"),
        ("Classification", _classifications(described)),
    ]
    yield from ((label, str(value)) for label, value in facts if value)
    for sla in listed(stated.get("slaProperties")):
        name = str(sla.get("property", ""))
        words = [str(sla[key]) for key in ("value", "unit") if sla.get(key) is not None]
        of = f" ({sla['element']})" if sla.get("element") else ""
        yield _SLA_NAMES.get(name, name).capitalize(), " ".join(words) + of


def _owner(team: object) -> str:
    """Return who is responsible: the team's name, else its members, as either version of the standard writes them."""
    if isinstance(team, Mapping):
        return str(team.get("name") or _owner(team.get("members")))
    members = [mapped(m) for m in listed(team)]
    names = [(m.get("name") or m.get("username"), m.get("role")) for m in members if not m.get("dateOut")]
    return ", ".join(f"{name} ({role})" if role else f"{name}" for name, role in names)


def _classifications(described: Described) -> str:
    stated = [str(c.stated.get("classification") or "not classified") for c in described.columns]
    counts = {name: stated.count(name) for name in dict.fromkeys(stated)}
    if counts.keys() == {"not classified"}:
        return ""
    return ", ".join(f"{name}: {n} {'columns' if n > 1 else 'column'}" for name, n in counts.items())


def _row(column: Column, source: Source) -> _Row:
    contract, field, stated = source.described.contract, column.field, column.stated
    roles = [
        *(["key"] if field.name in contract.key else []),
        *(["happened at"] if field.name == contract.event_at else []),
        *(["known at"] if field.name == contract.known_at else []),
        *(["deprecated"] if stated.get("deprecated") else []),
    ]
    said = (stated.get("businessName"), stated.get("description"))
    return _Row(
        name=field.name,
        roles=tuple(roles),
        type=str(stated["logicalType"]),
        required=field.required,
        rules=rules_in_words(stated),
        classification=str(stated.get("classification") or ""),
        description=". ".join(str(s).rstrip(".") for s in said if s) + ("." if any(said) else ""),
        examples=tuple(map(str, listed(stated.get("examples")))),
        uses=(source.uses or {}).get(field.name, ()),
    )
