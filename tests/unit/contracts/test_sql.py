"""SQL of a contract reads its rows and nothing else, is bound before a row arrives, and answers the same again."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.contracts import sql
from raypipe.contracts.contract import TIMESTAMP

SCHEMA = pa.schema(
    [("sensor", pa.string()), ("celsius", pa.float64()), ("sent", TIMESTAMP), ("n", pa.int64()), ("day", pa.date32())]
)
ROWS = pa.table({"sensor": ["1", "a", None], "n": [1, 2, None]})


@pytest.mark.parametrize("dollar", ["", "$"])
@pytest.mark.parametrize("table", ["object", "table", "model"])
@pytest.mark.parametrize("column", ["property", "column", "field"])
def test_placeholders_become_quoted_names(dollar, table, column):
    text = f"SELECT {dollar}{{{column}}} FROM {dollar}{{{table}}} WHERE x = {{'a': 1}}"
    assert sql.filled(text, "readings", 'a"b') == """SELECT "a""b" FROM "readings" WHERE x = {'a': 1}"""


def test_a_rule_of_the_schema_object_has_no_property():
    with pytest.raises(sql.SqlError, match="`{property}` has no meaning on a schema object"):
        sql.filled("SELECT {property} FROM {object}", "readings", None)


@pytest.mark.parametrize(
    "text",
    [
        "celsius > 3",
        "n > 3 -- a comment",
        "sent::date = day",
        "cast(sensor AS INTEGER) > 3",
        "regexp_matches(sensor, '^a')",
        "celsius BETWEEN 1 AND 2 OR n IS NULL",
    ],
)
def test_an_expression_on_the_columns_of_a_row_is_bound(text):
    assert not sql.is_query(text)
    assert sql.bound_expression(text, SCHEMA) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("n", "BIGINT: it must be true or false"),
        ("n > 1, n > 2", "must be true or false"),
        ("sum(n) > 3", "an aggregate"),
        ("row_number() OVER () > 3", "a window"),
        ("n > (SELECT 1)", "a subquery"),
        ("random() > 0.5", "calls `random`"),
        ("sent < now()", "calls `now`"),
        ("sent < current_timestamp", "calls `current_timestamp`"),
        ("nope > 1", '"nope" not found'),
    ],
)
def test_what_is_not_true_or_false_by_the_row_alone_is_refused(text, said):
    assert not sql.is_query(text)
    with pytest.raises(sql.SqlError, match=said):
        sql.bound_expression(text, SCHEMA)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("n >", "syntax error"),
        ("SELECT 1 FROM", "syntax error"),
        ("1) FROM x; SELECT (1", "it is SELECT, SELECT"),
        ("", "it is empty"),
        ("SELECT 1; SELECT 2", "it is SELECT, SELECT"),
        ("DELETE FROM readings", "it is DELETE"),
        ("CREATE TABLE a (i INTEGER)", "it is CREATE"),
        ("COPY readings TO '/tmp/x'", "it is COPY"),
        ("ATTACH '/tmp/x'", "it is ATTACH"),
        ("SET memory_limit = '1GB'", "it is SET"),
    ],
)
def test_what_is_neither_a_query_nor_an_expression_is_refused(text, said):
    with pytest.raises(sql.SqlError, match=said):
        sql.is_query(text)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("SELECT count(*) FROM readings WHERE celsius IS NULL", ("celsius",)),
        ("SELECT count(*) FROM Readings", ("sensor",)),
        ("SELECT avg(r.N) FROM readings r WHERE day > DATE '2020-01-01'", ("n", "day")),
        ("WITH a AS (SELECT n FROM readings) SELECT sum(n) FROM a", ("n",)),
        ("SELECT count(*) FROM (SELECT DISTINCT * FROM readings)", tuple(SCHEMA.names)),
        ("SELECT count(*) FROM readings a NATURAL JOIN readings b", tuple(SCHEMA.names)),
        ("SELECT count(DISTINCT r) FROM readings r", tuple(SCHEMA.names)),
        ("SELECT bool_and(n > 1) FROM readings", ("n",)),
    ],
)
def test_a_query_reads_the_columns_that_it_names(text, columns):
    assert sql.is_query(text)
    assert sql.bound_query(text, "readings", SCHEMA) == columns


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SELECT * FROM readings", "must return one number"),
        ("SELECT max(sent) FROM readings", "returns TIMESTAMP WITH TIME ZONE"),
        ("SELECT max(sensor) FROM readings", "returns VARCHAR"),
        ("SELECT [count(*)] FROM readings", "must return one number"),
        ("VALUES (1), (2)", "must return one"),
        ("SELECT count(*) FROM other", "it reads `other`: there is only `readings`"),
        ("SELECT count(*) FROM '/etc/passwd'", "it reads `/etc/passwd`"),
        ("SELECT count(*) FROM read_csv('/etc/passwd')", "a table function"),
        ("SELECT count(*) FROM query('SELECT 1')", "a table function"),
        ("SELECT count(*) FROM information_schema.tables", "it reads `tables`"),
        ("SELECT count(*) FROM readings WHERE sent > now()", "calls `now`"),
        ("SELECT count(*) FROM readings WHERE nope = 1", '"nope" not found'),
    ],
)
def test_a_query_that_reads_anything_else_or_returns_no_number_is_refused(text, said):
    assert sql.is_query(text)
    with pytest.raises(sql.SqlError, match=said):
        sql.bound_query(text, "readings", SCHEMA)


@pytest.mark.parametrize(
    "text", ["SELECT * FROM read_text('/etc/passwd')", "SELECT * FROM glob('/*')", "INSTALL httpfs", "SET threads = 2"]
)
def test_the_engine_reaches_no_file_no_extension_and_no_setting(text):
    with pytest.raises(Exception, match="disabled by configuration|has been locked"):
        sql._engine().execute(text)


def test_unknown_keeps_a_rule_and_what_cannot_be_computed_breaks_it():
    found = sql.broken(ROWS, [("cast(sensor AS INTEGER) > 3", True), ("n > 1 -- two", False), ("n > 1", True)])
    assert [c.to_pylist() for c in found.columns] == [
        [True, True, False],
        [False, True, False],
        [True, False, False],
    ]


def test_an_answer_is_one_finite_number_or_none():
    def ask(text, rows=ROWS):
        return sql.answer(text, "readings", rows)

    assert ask("SELECT avg(n) FROM readings") == 1.5
    assert ask("SELECT bool_and(n > 0) FROM readings") == 1
    assert ask("SELECT avg(n) FROM readings", ROWS.slice(0, 0)) is None
    assert ask("SELECT 'nan'::DOUBLE FROM readings LIMIT 1") is None
    for text in ("SELECT max(cast(sensor AS INTEGER)) FROM readings", "SELECT n FROM readings", "SELECT 1 WHERE false"):
        with pytest.raises(sql.SqlError):
            ask(text)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(["1", "a", "", None]), st.none() | st.integers(-3, 3))), st.integers(0, 9))
def test_the_verdict_on_a_row_does_not_depend_on_its_neighbours(rows, cut):
    schema = pa.schema([("sensor", pa.string()), ("n", pa.int64())])
    table = pa.Table.from_pylist([{"sensor": s, "n": n} for s, n in rows], schema=schema)
    rules = [("cast(sensor AS INTEGER) > n", True), ("10 / n > 3", True)]
    parts = [sql.broken(part, rules) for part in (table.slice(0, cut), table.slice(cut))]
    assert pa.concat_tables(parts) == sql.broken(table, rules)
