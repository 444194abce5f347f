"""The `quality` rules of type `sql`: an expression that each row keeps, or a query about all of them.

Knows how a contract states them. Does not know how SQL is executed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
from open_data_contract_standard.model import DataQuality, SchemaObject

from raypipe.contracts import sql
from raypipe.contracts.comparison import Comparison, Operator, read_comparison
from raypipe.contracts.contract import Expression
from raypipe.contracts.document import Place
from raypipe.contracts.quality import operators_of, severity_of
from raypipe.contracts.table_rules import Query, TableRule, table_rule


@dataclass(frozen=True, slots=True)
class Queries:
    """What the SQL rules of a contract state."""

    expressions: tuple[Expression, ...]
    table: tuple[TableRule, ...]


def read_queries(schema: SchemaObject, columns: pa.Schema, place: Place) -> Queries:
    """Return the SQL rules of the schema object and of its properties.

    A `query` that is an expression on the columns of a row, and must be true or false, is a rule on each row; one that
    is a SELECT is a rule on the table.

    Parameters
    ----------
    schema
        The schema object.
    columns
        What its rows consist of.
    place
        Where it stands.

    Raises
    ------
    ContractError
        At a query that cannot be parsed, reads anything but these columns, or does not return what is compared.
    """
    expressions: list[Expression] = []
    table: list[TableRule] = []
    for rule, column, here in _stated(schema, place):
        try:
            text = sql.filled(rule.query or "", str(schema.name), column)
            if sql.is_query(text):
                reads = sql.bound_query(text, str(schema.name), columns)
                measure = Query(text, str(schema.name), reads, _label(rule, column))
                must = _must(rule, here)
                table.append(table_rule(measure, must, rule.unit or "", severity_of(rule.severity, here)))
            else:
                sql.bound_expression(text, columns)
                expressions.append(_expression(rule, text, expressions, here))
        except sql.SqlError as error:
            raise here.at("query").error(f"the query cannot be executed: {error}") from error
    return Queries(tuple(expressions), tuple(table))


def _stated(schema: SchemaObject, place: Place) -> Iterator[tuple[DataQuality, str | None, Place]]:
    for i, rule in enumerate(schema.quality or []):
        if rule.type == "sql":
            yield rule, None, place.at("quality", i)
    for i, prop in enumerate(schema.properties or []):
        for j, rule in enumerate(prop.quality or []):
            if rule.type == "sql":
                yield rule, prop.name, place.at("properties", i, "quality", j)


def _label(rule: DataQuality, column: str | None) -> str:
    return rule.name or rule.id or column or " ".join((rule.query or "").split())


def _must(rule: DataQuality, here: Place) -> Comparison:
    stated = {o: float(value) if isinstance(value, bool) else value for o, value in operators_of(rule).items()}
    return read_comparison(stated, here)


def _expression(rule: DataQuality, text: str, before: Sequence[Expression], here: Place) -> Expression:
    stated = operators_of(rule)
    if list(stated) != [Operator.MUST_BE] or not isinstance(rule.mustBe, bool):
        raise here.error(
            f"`{' '.join(text.split())}` is true or false for each row, and the rule says "
            f"{', '.join(f'{o}: {v}' for o, v in stated.items()) or 'nothing'}: write `mustBe: true` or `mustBe: "
            "false`, or a SELECT for a number"
        )
    name = f"sql({rule.name or rule.id or ' '.join(text.split())})"
    if name in [e.name for e in before]:
        raise here.error(f"two rules are called {name}: give each its own `name`")
    return Expression(name, text, rule.mustBe, severity_of(rule.severity, here))
