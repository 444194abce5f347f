"""A table rule is judged by its number, its operator and its unit; without a number it does not pass."""

import json
from datetime import timedelta

import pytest

from raypipe.contracts.comparison import Comparison, Operator
from raypipe.contracts.gate import GateEvidence, judge
from raypipe.contracts.halt import counts_of
from raypipe.contracts.source import HaltWhen
from raypipe.contracts.table_rules import (
    Age,
    DuplicateValues,
    InvalidValues,
    MissingKeys,
    MissingValues,
    NullValues,
    Query,
    RowCount,
    judge_rules,
    table_rule,
)
from raypipe.verdict import Status

OF_ROWS = [
    NullValues("c"),
    MissingValues("c", ("N/A",), null=True),
    InvalidValues("c", ("a",), None),
    DuplicateValues(("c", "d")),
    MissingKeys(("c",), "customers", ("id",)),
]
MEASURES = [*OF_ROWS, RowCount(), Query("SELECT 1", "t", ("c",), "x"), Age("at", timedelta(days=1))]
# A number just below, at and above the limits 20 and 30, and which of those are kept.
KEPT = {
    Operator.MUST_BE: ((20,), {20}),
    Operator.MUST_NOT_BE: ((20,), {19, 21, 29, 30, 31}),
    Operator.GREATER: ((20,), {21, 29, 30, 31}),
    Operator.AT_LEAST: ((20,), {20, 21, 29, 30, 31}),
    Operator.LESS: ((20,), {19}),
    Operator.AT_MOST: ((20,), {19, 20}),
    Operator.BETWEEN: ((20, 30), {20, 21, 29, 30}),
    Operator.NOT_BETWEEN: ((20, 30), {19, 31}),
}
NUMBERS = (19, 20, 21, 29, 30, 31)


def judged(rule, value, rows):
    (finding,) = judge_rules([rule], {rule.name: value}, rows, "trips")
    return finding


def cases():
    for measure in MEASURES:
        for operator, (limits, kept) in KEPT.items():
            for unit in ("rows", "percent") if measure in OF_ROWS else ("rows",):
                for severity in ("error", "warning"):
                    yield pytest.param(measure, Comparison(operator, limits), kept, unit, severity)


@pytest.mark.parametrize(("measure", "must", "kept", "unit", "severity"), list(cases()))
def test_a_number_is_compared_in_its_unit_and_its_severity_says_what_follows(measure, must, kept, unit, severity):
    rule = table_rule(measure, must, unit, severity)
    for number in NUMBERS:
        # Of 400 rows, four are a percent.
        counted = 4 * number if unit == "percent" else number
        finding = judged(rule, counted, 400)
        broken = Status.HALTED if severity == "error" else Status.WARNED
        assert finding.status is (Status.PASSED if number in kept else broken), number
        assert finding.observed == number
        assert str(must) in finding.message
        assert ("change the rule" in finding.message) == (number not in kept)


def test_a_finding_says_both_numbers_and_what_to_do():
    rule = table_rule(NullValues("celsius"), Comparison(Operator.LESS, (1,)), "percent")
    assert judged(rule, 91, 1000).message == (
        "nullValues(celsius) of `trips` is 9.1 % (91 of 1000 rows), its contract says mustBeLessThan 1 %: "
        "fix the source, or change the rule"
    )
    assert (judged(rule, 91, 1000).observed, judged(rule, 91, 1000).limit) == (9.1, 1)


@pytest.mark.parametrize("operator", Operator)
def test_a_query_that_gives_no_number_breaks_its_rule_whatever_it_must_be(operator):
    rule = table_rule(Query("SELECT 1", "t", ("c",), "x"), Comparison(operator, (1,) * operator.limits), "")
    assert judged(rule, None, 10).status is Status.HALTED
    assert "is no number" in judged(rule, None, 10).message


def test_of_no_rows_there_is_no_share_and_no_newest_but_there_is_a_number():
    most = Comparison(Operator.AT_MOST, (1,))
    assert judged(table_rule(NullValues("c"), most, "percent"), 0, 0).status is Status.NOT_APPLICABLE
    assert judged(table_rule(Age("at", timedelta(days=1)), most, "d"), None, 0).status is Status.NOT_APPLICABLE
    assert judged(table_rule(RowCount(), Comparison(Operator.GREATER, (0,))), 0, 0).status is Status.HALTED


def test_a_broken_table_rule_halts_a_generation_whose_rows_are_all_good():
    rules = [table_rule(RowCount(), Comparison(Operator.AT_LEAST, (100,)))]
    evidence = GateEvidence(objects=1, rows=10, accepted=10)
    assert judge(evidence, HaltWhen(), "trips", rules).status is Status.PASSED, "it is not measured yet"
    measured = evidence.with_measured({"rowCount": 10})
    verdict = judge(measured, HaltWhen(), "trips", rules)
    assert verdict.status is Status.HALTED
    assert verdict.sentence() == (
        "HALTED: rowCount of `trips` is 10 rows, its contract says mustBeGreaterOrEqualTo 100 rows: "
        "fix the source, or change the rule"
    )


def test_what_was_measured_survives_the_record():
    measured = GateEvidence(objects=1, rows=1, accepted=1).with_measured({"rowCount": 1, "sql(x)": None, "a": 0.5})
    recorded = json.loads(json.dumps({"rows": 1, "measured": measured.measured}))
    assert counts_of(recorded).measured == measured.measured
    assert counts_of({"rows": 1}).measured == ()
