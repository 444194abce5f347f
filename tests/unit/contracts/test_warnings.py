"""A rule of severity `warning` lets its rows in, counts them, and shows in the verdict."""

from raypipe.contracts.checks import check
from raypipe.contracts.formats import read_rows
from raypipe.contracts.gate import GateEvidence, judge, observe
from raypipe.contracts.odcs import load_contract
from raypipe.contracts.source import HaltWhen
from raypipe.verdict import Status

CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: rides
version: 1.0.0
status: active
schema:
  - name: rides
    customProperties: [{property: eventAt, value: at}]
    properties:
      - {name: at, logicalType: timestamp, primaryKey: true}
      - name: city
        logicalType: string
        quality:
          - {metric: nullValues, mustBe: 0, severity: warning}
          - {metric: invalidValues, arguments: {validValues: [north, south]}, mustBe: 0, severity: warning}
          - {metric: invalidValues, arguments: {pattern: "^[a-z]+$"}, mustBe: 0}
"""
ROWS = (
    b"at,city\n2020-01-01T00:00:00Z,north\n2020-01-02T00:00:00Z,west\n2020-01-03T00:00:00Z,\n2020-01-04T00:00:00Z,W9\n"
)


def seen(rows=ROWS, contract=CONTRACT):
    raw = read_rows(rows, "csv")
    checked = check(raw, load_contract(contract, "rides.odcs.yaml"))
    return checked, observe(raw, checked)


def test_rows_with_a_warning_are_accepted_and_counted_and_refused_rows_do_not_warn():
    checked, evidence = seen()
    assert checked.accepted.column("city").to_pylist() == ["north", "west", None]
    assert (evidence.accepted, evidence.dead_letters) == (3, 1)
    assert evidence.by_reason == (("pattern(city)", 1),)
    assert evidence.warned == (("required(city)", 1), ("valid_values(city)", 1))


def test_warnings_alone_warn_and_let_pass():
    verdict = judge(seen(ROWS.rsplit(b"2020", 1)[0])[1], HaltWhen(), "rides")
    assert verdict.status is Status.WARNED
    assert verdict.lets_pass
    assert "1 rows of `rides` have the warning valid_values(city) and were let in" in verdict.sentence()
    assert judge(seen(ROWS.splitlines(keepends=True)[0] + ROWS.splitlines()[1])[1], HaltWhen(), "rides").status is (
        Status.PASSED
    )


def test_warnings_do_not_hide_a_quarantine_or_a_halt():
    evidence = seen()[1]
    assert judge(evidence, HaltWhen(dead_letter_rate=0.3), "rides").status is Status.QUARANTINED
    assert judge(evidence, HaltWhen(dead_letter_rate=0.1), "rides").status is Status.HALTED


def test_warnings_add_up():
    evidence = seen()[1]
    assert evidence.merge(GateEvidence()).warned == evidence.warned
    assert evidence.merge(evidence).warned == (("required(city)", 2), ("valid_values(city)", 2))


def test_a_severity_is_part_of_the_contracts_meaning():
    strict = CONTRACT.replace("mustBe: 0, severity: warning}", "mustBe: 0}", 1)
    assert load_contract(strict, "x").digest != load_contract(CONTRACT, "x").digest
    assert load_contract(strict, "x").field("city").required
