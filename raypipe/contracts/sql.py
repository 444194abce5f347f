"""SQL of a contract: parsed, bound to the contract's columns, and executed on rows that are at hand, by DuckDB.

The one module that knows DuckDB, which is here a library over Arrow tables as Polars is one over frames: it is given
rows, and can reach no file, no network, no extension and no setting. Imported on first use, so that a contract without
SQL does not pay for it. Knows SQL. Does not know what a rule makes of the answer.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import cache
from typing import Any

import pyarrow as pa

_PLACEHOLDER = re.compile(r"\$?\{(object|table|model|property|column|field)\}")
_BEGINS_A_QUERY = re.compile(r"\s*(select|with|from|values)\b", re.IGNORECASE)
_OBJECT = ("object", "table", "model")
_CLOCKS = {"current_timestamp", "current_date", "current_time", "localtimestamp", "localtime"}
_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL", "BOOLEAN")
_ROWS = "raypipe_rows"


class SqlError(ValueError):
    """The text cannot be executed as a rule; the message says why."""


def filled(text: str, table: str, column: str | None) -> str:
    """Return the text with its placeholders replaced by quoted names.

    Parameters
    ----------
    text
        With `{object}` and `{property}`, a `$` before them or not; also `{table}`, `{model}`, `{column}` and `{field}`.
    table
        Name of the schema object.
    column
        Name of the property; none where the rule is the schema object's.

    Raises
    ------
    SqlError
        When it names the property where there is none.

    Examples
    --------
    >>> filled("SELECT count(*) FROM ${object} WHERE {property} IS NULL", "readings", "celsius")
    'SELECT count(*) FROM "readings" WHERE "celsius" IS NULL'
    """

    def name(match: re.Match[str]) -> str:
        found = table if match[1] in _OBJECT else column
        if found is None:
            raise SqlError(f"`{match[0]}` has no meaning on a schema object: name the column")
        return _quoted(found)

    return _PLACEHOLDER.sub(name, text)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def is_query(text: str) -> bool:
    """Return whether the text is one query, not an expression on the columns of a row.

    Raises
    ------
    SqlError
        When it is neither.
    """
    import duckdb  # noqa: PLC0415

    try:
        _parse(text)
        return True
    except duckdb.ParserException as error:
        # Either message may be the helpful one; that of a query speaks to who began to write one.
        if _BEGINS_A_QUERY.match(text):
            raise SqlError(_first_line(error)) from error
    try:
        _parse(_select(text))
        return False
    except duckdb.ParserException as error:
        raise SqlError(_first_line(error)) from error


def _parse(text: str) -> None:
    kinds = [statement.type.name for statement in _engine().extract_statements(text)]
    if kinds != ["SELECT"]:
        raise SqlError(f"it is {', '.join(kinds) or 'empty'}: write one SELECT, or one expression on a row")


def _select(expression: str, source: str = "") -> str:
    # The line breaks keep a comment at the end of the expression from swallowing the bracket.
    return f"SELECT (\n{expression}\n) AS answer{source}"


def bound_expression(text: str, schema: pa.Schema) -> str:
    """Return the expression after it was bound to the columns of a row.

    Raises
    ------
    SqlError
        When it is not true or false for each row, or does not depend on that row alone.
    """
    query = _select(text, f" FROM {_ROWS}")
    tree = _tree(query, {_ROWS})
    beyond = {str(node.get("class")) for node in _nodes(tree)} & {"WINDOW", "SUBQUERY"}
    types, rows = _bound(query, _ROWS, schema)
    if types != ["BOOLEAN"]:
        raise SqlError(f"the expression is {', '.join(types)}: it must be true or false for each row")
    if beyond or rows:
        what = "a window" if "WINDOW" in beyond else "a subquery" if beyond else "an aggregate"
        raise SqlError(f"the expression has {what}, but a row's verdict depends on that row alone: write a SELECT")
    return text


def bound_query(text: str, table: str, schema: pa.Schema) -> tuple[str, ...]:
    """Return the columns that the query reads, after it was bound to the table.

    Raises
    ------
    SqlError
        When it reads anything else, or does not return one number.
    """
    tree = _tree(text, {table})
    types, rows = _bound(text, table, schema)
    if len(types) != 1 or not types[0].removeprefix("U").startswith(_NUMBERS) or "[" in types[0]:
        raise SqlError(f"the query returns {', '.join(types)}: it must return one number, or true or false")
    if rows > 1:
        raise SqlError(f"the query returns {rows} rows: it must return one")
    return _columns(list(_nodes(tree)), table, schema)


def _columns(nodes: Sequence[dict[str, Any]], table: str, schema: pa.Schema) -> tuple[str, ...]:
    """Return the columns that are read: those that are named, or all where some may be meant without their name."""
    references = [n["column_names"] for n in nodes if n.get("class") == "COLUMN_REF"]
    named = {str(names[-1]).lower() for names in references}
    whole_rows = {table.lower(), *(str(n["alias"]).lower() for n in nodes if n.get("type") == "BASE_TABLE")}
    unnamed = any(n.get("class") == "STAR" or n.get("type") in ("JOIN", "PIVOT") for n in nodes)
    if unnamed or any(len(names) == 1 and str(names[0]).lower() in whole_rows for names in references):
        return tuple(schema.names)
    # The rows are counted by some column where a query names none.
    return tuple(n for n in schema.names if n.lower() in named) or (schema.names[0],)


def broken(rows: pa.Table, expressions: Sequence[tuple[str, bool]]) -> pa.Table:
    """Return a column of booleans for each expression: whether the row breaks it.

    An expression that is unknown (null) for a row is not broken by it, as in a CHECK constraint; one that cannot be
    computed for a row, such as a cast, is.

    Parameters
    ----------
    rows
        Any number of rows.
    expressions
        Each with what it must be.
    """
    flags = [
        f"coalesce(TRY(coalesce((\n{text}\n) <> {str(must).lower()}, false)), true) AS c{number}"
        for number, (text, must) in enumerate(expressions)
    ]
    engine = _engine()
    engine.register(_ROWS, rows)
    try:
        found: pa.Table = engine.sql(f"SELECT {', '.join(flags)} FROM {_ROWS}").to_arrow_table()
        return found
    finally:
        engine.unregister(_ROWS)


def answer(query: str, table: str, rows: pa.Table) -> float | None:
    """Return the finite number that the query returns, 1 and 0 for true and false; None where it returns none.

    Raises
    ------
    SqlError
        When it fails on these rows, or returns several.
    """
    import duckdb  # noqa: PLC0415

    engine = _engine()
    engine.register(table, rows)
    try:
        found = engine.execute(_first_two(query)).fetchall()
    except duckdb.Error as error:
        raise SqlError(_first_line(error)) from error
    finally:
        engine.unregister(table)
    if len(found) != 1:
        raise SqlError(f"the query returned {'no row' if not found else 'several rows'}: it must return one")
    value = found[0][0]
    if not isinstance(value, bool | int | float | Decimal) or not math.isfinite(value):
        return None
    return float(value)


def _first_two(query: str) -> str:
    return f"SELECT * FROM (\n{query}\n) LIMIT 2"


def _bound(query: str, table: str, schema: pa.Schema) -> tuple[list[str], int]:
    """Return the types of the query's columns, and how many rows it returns when the table is empty."""
    import duckdb  # noqa: PLC0415

    engine = _engine()
    engine.register(table, schema.empty_table())
    try:
        types = [str(d[1]) for d in engine.execute(f"DESCRIBE {query}").fetchall()]
        return types, len(engine.execute(_first_two(query)).fetchall())
    except duckdb.Error as error:
        raise SqlError(_first_line(error)) from error
    finally:
        engine.unregister(table)


def _tree(query: str, tables: set[str]) -> object:
    """Return the parsed query, which reads these tables alone and would answer the same at any time.

    Raises
    ------
    SqlError
        When it does not.
    """
    ((text,),) = _engine().execute("SELECT json_serialize_sql(?::VARCHAR)", [query]).fetchall()
    tree = json.loads(text)
    if tree["error"]:
        raise SqlError(str(tree["error_message"]))
    nodes = list(_nodes(tree))
    known = {t.lower() for t in tables} | {str(k).lower() for node in nodes for k in _names_of_ctes(node)}
    for node in nodes:
        if node.get("type") == "BASE_TABLE" and str(node["table_name"]).lower() not in known:
            raise SqlError(f"it reads `{node['table_name']}`: there is only `{', '.join(sorted(tables))}`")
        if node.get("type") == "TABLE_FUNCTION":
            raise SqlError("it reads a table function: there is only the table itself")
        changing = _changing(node)
        if changing:
            raise SqlError(f"it calls `{changing}`, whose answer changes from run to run: a rule says the same again")
    return tree


def _names_of_ctes(node: dict[str, Any]) -> list[str]:
    return [entry["key"] for entry in (node.get("cte_map") or {}).get("map", [])]


def _changing(node: dict[str, Any]) -> str | None:
    """Return the name of the function that this node calls, if its answer depends on more than its arguments."""
    if node.get("class") == "COLUMN_REF":
        name = str(node["column_names"][-1]).lower()
        return name if name in _CLOCKS else None
    if node.get("class") != "FUNCTION":
        return None
    name = str(node["function_name"])
    unstable = "SELECT count(*) FROM duckdb_functions() WHERE function_name = ? AND stability <> 'CONSISTENT'"
    ((found,),) = _engine().execute(unstable, [name]).fetchall()
    return name if found else None


def _nodes(tree: object) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)


@cache
def _engine() -> Any:
    """Return this process's engine. Starting one takes longer than checking a small object, and it keeps no rows."""
    import duckdb  # noqa: PLC0415

    engine = duckdb.connect(
        config={
            "enable_external_access": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "threads": "1",
        }
    )
    engine.execute("SET TimeZone = 'UTC'")
    engine.execute("SET lock_configuration = true")
    return engine


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0]
