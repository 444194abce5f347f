"""Rules that no single row can keep or break: they are judged on the accepted rows of a generation, all together.

What is measured is a number, given by name; judging it is comparing it. Knows numbers and limits. Does not know rows,
nor how a number comes about.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

from raypipe.contracts.comparison import Comparison
from raypipe.verdict import Finding, Status

Severity = Literal["error", "warning"]
PERCENT = "percent"


@dataclass(frozen=True, slots=True)
class NullValues:
    """How many rows have no value in a column."""

    column: str

    def __str__(self) -> str:
        return f"nullValues({self.column})"


@dataclass(frozen=True, slots=True)
class MissingValues:
    """How many rows have, in a column, one of the values that stand for none; null is one of them where `null` is."""

    column: str
    values: tuple[str | int | float, ...]
    null: bool

    def __str__(self) -> str:
        return f"missingValues({self.column})"


@dataclass(frozen=True, slots=True)
class InvalidValues:
    """How many rows have, in a column, a value that is not valid or does not match; null is not invalid."""

    column: str
    valid_values: tuple[str | int, ...] | None
    pattern: str | None

    def __str__(self) -> str:
        return f"invalidValues({self.column})"


@dataclass(frozen=True, slots=True)
class DuplicateValues:
    """How many rows would have to go for the others to differ in these columns; a null differs from everything.

    Parameters
    ----------
    columns
        The columns that are compared, all together.
    in_table
        Whether the rows must differ from those that the source's table has, too.
    """

    columns: tuple[str, ...]
    in_table: bool = False

    def __str__(self) -> str:
        return f"{'unique' if self.in_table else 'duplicateValues'}({', '.join(self.columns)})"


@dataclass(frozen=True, slots=True)
class RowCount:
    """How many rows there are."""

    def __str__(self) -> str:
        return "rowCount"


@dataclass(frozen=True, slots=True)
class Query:
    """The one number that an SQL query returns; true is 1 and false is 0.

    Parameters
    ----------
    sql
        A SELECT in which the rows are the table `table`.
    columns
        The columns that it reads.
    label
        What it is called.
    """

    sql: str
    table: str
    columns: tuple[str, ...]
    label: str

    def __str__(self) -> str:
        return f"sql({self.label})"


@dataclass(frozen=True, slots=True)
class MissingKeys:
    """How many rows name a key that another source's rows do not have; a key with a null in it names none.

    Parameters
    ----------
    columns
        The columns that name the key.
    table
        Name of the other schema object.
    keys
        Its columns, in the same order.
    """

    columns: tuple[str, ...]
    table: str
    keys: tuple[str, ...]

    def __str__(self) -> str:
        return f"relationship({', '.join(self.columns)} -> {', '.join(f'{self.table}.{k}' for k in self.keys)})"


@dataclass(frozen=True, slots=True)
class Age:
    """How long before the ingest the newest time in a column is, in `unit`s; a date is its midnight in UTC."""

    column: str
    unit: timedelta

    def __str__(self) -> str:
        return f"latency({self.column})"


Measure = NullValues | MissingValues | InvalidValues | DuplicateValues | RowCount | Query | MissingKeys | Age


@dataclass(frozen=True, slots=True)
class TableRule:
    """What a measure of the accepted rows of a generation must be.

    Parameters
    ----------
    name
        Names the measured number; equal measures of one contract have equal names.
    measure
        What is measured.
    must
        What it must be.
    unit
        `percent` compares the share of the rows, in percent, instead of their number; of a query it is a word.
    severity
        Whether breaking it halts the generation, or is only said.
    """

    name: str
    measure: Measure
    must: Comparison
    unit: str = "rows"
    severity: Severity = "error"

    @property
    def of_rows(self) -> bool:
        """Whether the measure is a number of some of the rows, which may be compared as their share."""
        return not isinstance(self.measure, RowCount | Query | Age)


def table_rule(measure: Measure, must: Comparison, unit: str = "rows", severity: Severity = "error") -> TableRule:
    """Return the rule under the name of its measure."""
    return TableRule(str(measure), measure, must, unit, severity)


def named(rules: Sequence[TableRule]) -> tuple[TableRule, ...]:
    """Return the rules under names that tell their measures apart.

    Examples
    --------
    >>> from raypipe.contracts.comparison import ZERO
    >>> ones, twos = (table_rule(MissingValues("n", (value,), null=False), ZERO) for value in (1, 2))
    >>> [rule.name for rule in named([ones, twos, ones])]
    ['missingValues(n)', 'missingValues(n) 2', 'missingValues(n)']
    """
    measures: dict[str, list[Measure]] = {}
    found = []
    for rule in rules:
        alike = measures.setdefault(rule.name, [])
        if rule.measure not in alike:
            alike.append(rule.measure)
        number = alike.index(rule.measure) + 1
        found.append(rule if number == 1 else replace(rule, name=f"{rule.name} {number}"))
    return tuple(found)


def judge_rules(
    rules: Sequence[TableRule], measured: Mapping[str, float | None], rows: int, source: str
) -> Iterator[Finding]:
    """Yield a finding for each rule: HALTED or WARNED where it is broken, else PASSED.

    Without a number a rule is broken: nothing known is not passing. Of no rows at all there is no share and no newest,
    and nothing enters the lake: NOT_APPLICABLE.

    Parameters
    ----------
    rules
        Of the contract.
    measured
        The numbers by the rules' names; none where a query returned none.
    rows
        Accepted rows of the generation.
    source
        Its name, for the messages.
    """
    for rule in rules:
        value = measured.get(rule.name)
        if value is not None and rule.of_rows and rule.unit == PERCENT:
            value = 100 * value / rows if rows else None
        if value is None and not rows:
            said = f"no row of `{source}` is new: there is nothing to judge {rule.name} by"
            yield Finding(rule.name, Status.NOT_APPLICABLE, said)
        else:
            yield _finding(rule, value, measured.get(rule.name), rows, source)


def _finding(rule: TableRule, value: float | None, counted: float | None, rows: int, source: str) -> Finding:
    kept = value is not None and rule.must.holds(value)
    status = Status.PASSED if kept else Status.HALTED if rule.severity == "error" else Status.WARNED
    is_number = "no number" if value is None else f"{value:.6g} {_word(rule)}".rstrip()
    out_of = f" ({counted:.0f} of {rows} rows)" if rule.of_rows and counted is not None else ""
    said = f"{rule.name} of `{source}` is {is_number}{out_of}, its contract says {rule.must} {_word(rule)}".rstrip()
    if not kept:
        said += ": fix the source, or change the rule"
    limit = rule.must.limits[0] if rule.must.operator.limits == 1 else None
    concerned = int(counted) if rule.of_rows and counted is not None and not kept else 0
    return Finding(rule.name, status, said, observed=value, limit=limit, rows=concerned)


def _word(rule: TableRule) -> str:
    return "%" if rule.unit == PERCENT else rule.unit
