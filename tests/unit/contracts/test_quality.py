"""What `quality`, `unique`, `relationships` and `slaProperties` state becomes a rule on rows, one on the table, or an error."""

from dataclasses import replace
from datetime import timedelta

import pytest

from raypipe.contracts.checks import check
from raypipe.contracts.comparison import ZERO, Comparison, Operator
from raypipe.contracts.formats import read_rows
from raypipe.contracts.gate import observe
from raypipe.contracts.odcs import load_contract
from raypipe.contracts.relationships import check_related
from raypipe.contracts.table_rules import (
    Age,
    DuplicateValues,
    InvalidValues,
    MissingKeys,
    MissingValues,
    NullValues,
    Query,
    RowCount,
    TableRule,
)
from raypipe.errors import ContractError

CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: trips
version: 1.0.0
SLA
schema:
  - name: trips
    customProperties: [{property: eventAt, value: began}]
    OBJECT
    properties:
      - {name: trip, logicalType: string, primaryKey: true}
      - {name: began, logicalType: timestamp, required: true}
      - {name: back, logicalType: timestamp}
      - name: city
        logicalType: string
        PROPERTY
      - {name: fare, logicalType: number}
"""


def text_of(prop="", table="", sla=""):
    return CONTRACT.replace("PROPERTY", prop).replace("OBJECT", table).replace("SLA", sla)


def load(**parts):
    return load_contract(text_of(**parts), "trips.odcs.yaml")


def rules(**parts):
    return load(**parts).table_rules


def rule(**parts):
    (found,) = rules(**parts)
    return found


LISTED = "arguments: {missingValues: [null, N/A]}"
VALID = "arguments: {validValues: [north, south]}"
AT_MOST_1 = Comparison(Operator.AT_MOST, (1,))


@pytest.mark.parametrize(
    ("metric", "measure"),
    [
        ("nullValues", NullValues("city")),
        (f"missingValues, {LISTED}", MissingValues("city", ("N/A",), null=True)),
        (f"invalidValues, {VALID}", InvalidValues("city", ("north", "south"), None)),
        ("invalidValues, arguments: {pattern: ^n}", InvalidValues("city", None, "^n")),
        ("duplicateValues", DuplicateValues(("city",))),
    ],
)
@pytest.mark.parametrize("unit", ["rows", "percent"])
@pytest.mark.parametrize("severity", ["error", "warning"])
def test_a_metric_of_a_property_with_a_limit_is_a_table_rule(metric, measure, unit, severity):
    found = rule(prop=f"quality: [{{metric: {metric}, mustBeLessOrEqualTo: 1, unit: {unit}, severity: {severity}}}]")
    assert found == TableRule(str(measure), measure, AT_MOST_1, unit, severity)


def test_a_metric_of_the_schema_object_is_a_table_rule():
    assert rule(table="quality: [{metric: rowCount, mustBeBetween: [1, 9]}]") == TableRule(
        "rowCount", RowCount(), Comparison(Operator.BETWEEN, (1, 9))
    )
    pair = rule(table="quality: [{metric: duplicateValues, mustBe: 0, arguments: {properties: [city, began]}}]")
    assert pair.measure == DuplicateValues(("city", "began"))


@pytest.mark.parametrize("unit", ["rows", "percent"])
def test_none_at_all_is_a_rule_on_each_row(unit):
    stated = (
        f"quality: [{{metric: nullValues, mustBe: 0, unit: {unit}}}, {{metric: invalidValues, {VALID}, mustBe: 0}}, "
        f"{{metric: missingValues, {LISTED}, mustBe: 0, severity: warning}}]"
    )
    contract = load(prop=stated)
    field = contract.field("city")
    assert contract.table_rules == ()
    assert (field.required, field.valid_values, field.missing_values) == (True, ("north", "south"), None)
    assert (field.warned.required, field.warned.missing_values) == (True, ("N/A",))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("rule: nullCheck", "metric: nullValues, mustBe: 0"),
        ("rule: nullCheck, mustBeLessThan: 3", "metric: nullValues, mustBeLessThan: 3"),
        ("rule: duplicateCount, mustBeLessThan: 3", "metric: duplicateValues, mustBeLessThan: 3"),
    ],
)
def test_the_spelling_of_version_3_0_means_the_same(old, new):
    assert load(prop=f"quality: [{{{old}}}]").digest == load(prop=f"quality: [{{{new}}}]").digest
    assert load(prop=f"quality: [{{type: library, {old}}}]").digest == load(prop=f"quality: [{{{new}}}]").digest


def test_the_row_count_of_version_3_0_is_one():
    assert rule(table="quality: [{rule: rowCount, mustBe: 3}]").measure == RowCount()


def test_unique_is_no_value_twice_in_the_table():
    assert rule(prop="unique: true") == TableRule("unique(city)", DuplicateValues(("city",), in_table=True), ZERO)
    unique_key = text_of().replace("primaryKey: true", "primaryKey: true, unique: true")
    assert load_contract(unique_key, "x").table_rules == (), "ingest keeps the key unique without a rule"


def test_a_select_is_a_table_rule_and_an_expression_is_one_on_rows():
    found = rule(
        prop='quality: [{type: sql, query: "SELECT count(*) FROM {object} WHERE {property} IS NULL", mustBeLessThan: 3}]'
    )
    query = 'SELECT count(*) FROM "trips" WHERE "city" IS NULL'
    assert found == TableRule(
        "sql(city)", Query(query, "trips", ("city",), "city"), Comparison(Operator.LESS, (3,)), ""
    )
    yes = rule(table='quality: [{type: sql, name: paid, query: "SELECT bool_and(fare > 0) FROM trips", mustBe: true}]')
    assert (yes.name, yes.must) == ("sql(paid)", Comparison(Operator.MUST_BE, (1.0,)))
    contract = load(table='quality: [{type: sql, name: goes back, query: "back >= began", mustBe: true}]')
    assert contract.table_rules == ()
    assert [(e.name, e.must, e.severity) for e in contract.expressions] == [("sql(goes back)", True, "error")]


ROWS = (
    b"trip,began,back,city,fare\n1,2020-01-01T00:00:00Z,2020-01-02T00:00:00Z,north,3\n"
    b"2,2020-01-01T00:00:00Z,2019-01-02T00:00:00Z,N/A,-1\n3,2020-01-01T00:00:00Z,,,\n"
)


def test_rows_that_break_an_expression_are_refused_or_counted():
    contract = load(
        table=(
            'quality: [{type: sql, name: goes back, query: "back >= began", mustBe: true}, '
            "{type: sql, id: free, query: \"fare < 0 OR trip = '1'\", mustBe: false, severity: warning}]"
        )
    )
    raw = read_rows(ROWS, "csv")
    found = observe(raw, check(raw, contract))
    assert (found.accepted, found.by_reason, found.warned) == (2, (("sql(goes back)", 1),), (("sql(free)", 1),))


def test_rows_with_a_value_that_stands_for_none_are_refused():
    contract = load(prop=f"quality: [{{metric: missingValues, {LISTED}, mustBe: 0}}]")
    checked = check(read_rows(ROWS, "csv"), contract)
    assert checked.refused["reasons"].to_pylist() == [["missing_values(city)"], ["required(city)"]]


def test_a_missing_number_may_be_a_number():
    text = text_of().replace(
        "{name: fare, logicalType: number}",
        "{name: fare, logicalType: number, quality: [{metric: missingValues, arguments: {missingValues: [-1]}, mustBe: 0}]}",
    )
    checked = check(read_rows(ROWS, "csv"), load_contract(text, "x"))
    assert checked.refused["reasons"].to_pylist() == [["missing_values(fare)"]]


def test_the_digest_follows_the_rules_and_not_how_a_limit_is_written():
    plain = load().digest
    one = load(prop="quality: [{metric: nullValues, mustBeLessThan: 1}]").digest
    assert len({plain, one, load(prop="quality: [{metric: nullValues, mustBeLessThan: 2}]").digest}) == 3
    assert one == load(prop="quality: [{metric: nullValues, mustBeLessThan: 1.0, unit: rows}]").digest
    by_sql = load(table='quality: [{type: sql, query: "back >= began", mustBe: true}]').digest
    assert by_sql not in (plain, load(table='quality: [{type: sql, query: "back > began", mustBe: true}]').digest)


def test_a_latency_is_the_greatest_age_of_the_newest_row():
    assert rule(sla="slaProperties: [{property: latency, value: 4, unit: d, element: trips.back}]") == TableRule(
        "latency(back)", Age("back", timedelta(days=1)), Comparison(Operator.AT_MOST, (4,)), "d"
    )
    by_default = "slaProperties: [{property: freshness, value: 90, unit: min}]"
    assert rule(sla=by_default).measure == Age("began", timedelta(minutes=1)), "the clock of the events"
    assert rule(sla=f"slaDefaultElement: back\n{by_default}").measure == Age("back", timedelta(minutes=1))
    warning = "customProperties: [{property: severity, value: warning}]"
    both = rules(sla=f"slaProperties: [{{property: ly, value: 1, unit: h, element: 'began, back', {warning}}}]")
    assert [(r.name, r.severity) for r in both] == [("latency(began)", "warning"), ("latency(back)", "warning")]


def test_other_agreements_are_recorded():
    contract = load(sla="slaProperties: [{property: availability, value: 99}, {property: frequency, value: 1}]")
    assert (contract.table_rules, contract.retention) == ((), None)


def test_a_relationship_is_no_missing_key_unless_it_says_otherwise():
    found = rule(prop="relationships: [{to: cities.name}]")
    measure = MissingKeys(("city",), "cities", ("name",))
    assert found == TableRule("relationship(city -> cities.name)", measure, ZERO)
    more = ", ".join(
        f"{{property: {p}, value: {v}}}"
        for p, v in [("mustBeLessThan", 5), ("unit", "percent"), ("severity", "warning")]
    )
    loose = rule(prop=f"relationships: [{{to: cities.name, customProperties: [{more}]}}]")
    assert loose == TableRule(found.name, measure, Comparison(Operator.LESS, (5,)), "percent", "warning")
    pair = rule(table="relationships: [{from: [trips.city, trips.began], to: [days.city, days.day]}]")
    assert pair.measure == MissingKeys(("city", "began"), "days", ("city", "day"))


def related_to(to):
    trips = load(prop=f"relationships: [{{to: {to}}}]")
    return {"rides": trips, "towns": replace(load(), name="cities")}


def test_a_relationship_leads_to_a_column_of_another_source_of_the_same_type():
    check_related(related_to("cities.trip"))
    check_related({"rides": load(prop="relationships: [{to: trips.trip}]")})
    for to, said in [
        ("citys.trip", "0 sources of the pipeline have a schema object `citys`, did you mean `cities`"),
        ("cities.name", "`cities` has no column `name`: it has trip"),
        ("cities.fare", "the columns are string and the key is double"),
    ]:
        with pytest.raises(ContractError, match=said):
            check_related(related_to(to))
    twice = related_to("cities.trip") | {"others": replace(load(), name="cities")}
    with pytest.raises(ContractError, match="2 sources of the pipeline"):
        check_related(twice)


SQL = "type: sql, mustBe: 0, query: "
BROKEN = [
    ({"prop": "quality: [{type: custom, engine: soda, implementation: x}]"}, "raypipe cannot execute `engine`"),
    ({"prop": "quality: [{metric: rowCount, mustBe: 1}]"}, "`rowCount` is not one of a property"),
    ({"table": "quality: [{metric: nullValues, mustBe: 1}]"}, "`nullValues` is not one of a schema object"),
    ({"prop": "quality: [{metric: nulls, mustBe: 1}]"}, "the metric `nulls`"),
    ({"prop": "quality: [{rule: countCheck, mustBe: 1}]"}, "the rule `countCheck`"),
    ({"prop": "quality: [{rule: nullCheck, metric: nullValues, mustBe: 1}]"}, "keep `metric`"),
    ({"prop": "quality: [{mustBe: 1}]"}, "the metric `None`"),
    ({"prop": "quality: [{metric: nullValues}]"}, "exactly one operator"),
    ({"prop": "quality: [{metric: nullValues, mustBe: 1, severity: info}]"}, "the severity is `info`"),
    ({"prop": "quality: [{metric: nullValues, mustBe: 1, unit: megabytes}]"}, "write rows or percent"),
    ({"table": "quality: [{metric: rowCount, mustBe: 1, unit: percent}]"}, "write rows"),
    ({"prop": "quality: [{metric: nullValues, mustBe: 1, arguments: {a: 1}}]"}, "has the arguments a"),
    ({"prop": "quality: [{metric: missingValues, mustBe: 1}]"}, "no list of `missingValues`"),
    ({"prop": "quality: [{metric: missingValues, mustBe: 1, arguments: {missingValues: [1]}}]"}, "not a string"),
    ({"prop": "quality: [{metric: invalidValues, mustBe: 1}]"}, "neither `validValues` nor `pattern`"),
    ({"prop": "quality: [{metric: invalidValues, mustBe: 1, arguments: {pattern: '(?=a)'}}]"}, "look-around"),
    ({"table": "quality: [{metric: duplicateValues, mustBe: 1}]"}, "no list of `properties`"),
    (
        {"table": "quality: [{metric: duplicateValues, mustBe: 1, arguments: {properties: [town]}}]"},
        "names `town`, which is not a property",
    ),
    ({"prop": f"quality: [{{{SQL} SELECT 1 FROM}}]"}, "the query cannot be executed: Parser Error"),
    ({"prop": f"quality: [{{{SQL} SELECT count(*) FROM towns}}]"}, "it reads `towns`"),
    ({"table": f"quality: [{{{SQL} 'SELECT {{property}} FROM {{object}}'}}]"}, "has no meaning on a schema object"),
    ({"prop": f"quality: [{{{SQL} back >= began}}]"}, "`mustBe: true`"),
    (
        {"prop": "quality: [{type: sql, query: SELECT 1, mustBe: [1]}]"},
        "write a number",
    ),
    (
        {"table": "quality: [{type: sql, mustBe: true, query: fare > 0}, {type: sql, mustBe: false, query: fare > 0}]"},
        "two rules are called sql(fare > 0)",
    ),
    ({"sla": "slaProperties: [{property: latency, value: 4, unit: m}]"}, "write one of s, min, h, d, w, y"),
    ({"sla": "slaProperties: [{property: latency, value: x, unit: d}]"}, "write a number above 0"),
    ({"sla": "slaProperties: [{property: latency, value: 4, unit: d, element: trips.x}]"}, "is no column of `trips`"),
    ({"sla": "slaProperties: [{property: latency, value: 4, unit: d, element: fare}]"}, "it has no age"),
    ({"sla": "slaProperties: [{property: latency, valu: 4}]"}, "did you mean `value`"),
    ({"prop": "relationships: [{to: cities}]"}, "write TABLE.COLUMN"),
    ({"prop": "relationships: [{to: 'other.yaml#cities.name'}]"}, "write TABLE.COLUMN"),
    ({"prop": "relationships: [{from: trips.city, to: cities.name}]"}, "the property itself"),
    ({"prop": "relationships: [{to: cities.name, type: parent}]"}, "executes foreignKey"),
    ({"table": "relationships: [{to: cities.name}]"}, "both of one column or both lists"),
    ({"table": "relationships: [{from: trips.town, to: cities.name}]"}, "name columns of `trips`"),
    ({"table": "relationships: [{from: [trips.city], to: [a.b, a.c]}]"}, "`to` has 2 columns and `from` 1"),
    ({"table": "relationships: [{from: [trips.city, trips.began], to: [a.b, c.d]}]"}, "2 tables, a, c"),
]


@pytest.mark.parametrize(("parts", "said"), BROKEN)
def test_a_rule_that_cannot_be_executed_is_refused_at_its_line(parts, said):
    with pytest.raises(ContractError) as caught:
        load(**parts)
    assert said in caught.value.message
    (part,) = parts.values()
    stated = next(i for i, line in enumerate(text_of(**parts).splitlines(), 1) if part in line)
    assert caught.value.line == stated
    assert caught.value.message.startswith(f"trips.odcs.yaml:{stated}: ")
