"""The `quality` rules of a contract: those that single rows keep or break, and those on a generation as a whole.

Knows the standard's library of metrics. Does not know SQL, nor columns' other rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from open_data_contract_standard.model import DataQuality

from raypipe.contracts.comparison import ZERO, Comparison, Operator, read_comparison
from raypipe.contracts.contract import RowRules
from raypipe.contracts.document import Place
from raypipe.contracts.table_rules import (
    PERCENT,
    DuplicateValues,
    InvalidValues,
    Measure,
    MissingValues,
    NullValues,
    RowCount,
    Severity,
    TableRule,
    table_rule,
)
from raypipe.contracts.values import checked_missing, checked_pattern, checked_values

T = TypeVar("T")

_METRICS = ("nullValues", "missingValues", "invalidValues", "duplicateValues", "rowCount")
_OLD_RULES = {"nullCheck": "nullValues", "duplicateCount": "duplicateValues"} | {metric: metric for metric in _METRICS}
"""What `rule` of the standard's version 3.0 is called now."""


@dataclass(frozen=True, slots=True)
class Column:
    """The property that rules are about."""

    name: str
    logical: str


@dataclass(frozen=True, slots=True)
class Quality:
    """What library rules state: on single rows by severity, and on the table."""

    error: RowRules
    warning: RowRules
    table: tuple[TableRule, ...]


def read_rules(rules: Sequence[DataQuality], place: Place, column: Column | None) -> Quality:
    """Return the library rules that `quality` states.

    Nulls, missing and invalid values that must be 0 are a rule on each row; everything else is one on the table. Rules
    of type `text` are documentation, and `queries` reads those of type `sql`.

    Parameters
    ----------
    rules
        The rules of a property or of the schema object.
    place
        That property or object.
    column
        The property; none for the schema object.

    Raises
    ------
    ContractError
        At a rule that cannot be executed.
    """
    rows = {"error": RowRules(), "warning": RowRules()}
    table = []
    for i, rule in enumerate(rules):
        here = place.at("quality", i)
        if rule.type in ("text", "sql"):
            continue
        if rule.type not in (None, "library"):
            raise here.error(
                f"raypipe cannot execute quality rules of type `{rule.type}`: use a library or an SQL rule, or check "
                "it elsewhere"
            )
        severity = severity_of(rule.severity, here)
        measure = _measure(rule, column, here)
        must = _must(rule, here)
        unit = _unit(rule, measure, here)
        if must == ZERO and isinstance(measure, NullValues | MissingValues | InvalidValues):
            rows[severity] = _both(rows[severity], measure, here)
        else:
            table.append(table_rule(measure, must, unit, severity))
    return Quality(rows["error"], rows["warning"], tuple(table))


def severity_of(stated: object, here: Place) -> Severity:
    """Return the severity of a rule, `error` where it says none.

    Raises
    ------
    ContractError
        When it is another word.
    """
    match stated:
        case None | "error":
            return "error"
        case "warning":
            return "warning"
        case _:
            raise here.at("severity").error(
                f"the severity is `{stated}`: write `error` (the row is refused, or the generation halted) or "
                "`warning` (it is accepted and counted), or remove the rule"
            )


def operators_of(rule: DataQuality) -> Mapping[str, object]:
    """Return the operators that a rule states, with their limits."""
    return {o: value for o in Operator if (value := getattr(rule, o)) is not None}


def _must(rule: DataQuality, here: Place) -> Comparison:
    stated = operators_of(rule)
    # Version 3.0 of the standard shows this one without an operator.
    return ZERO if not stated and rule.rule == "nullCheck" else read_comparison(stated, here)


def _unit(rule: DataQuality, measure: Measure, here: Place) -> str:
    unit = rule.unit or "rows"
    if unit not in ("rows", PERCENT) or (unit == PERCENT and isinstance(measure, RowCount)):
        what = "rows" if isinstance(measure, RowCount) else "rows or percent"
        raise here.at("unit").error(f"the unit of `{rule.metric or rule.rule}` is `{unit}`: write {what}")
    return unit


def _measure(rule: DataQuality, column: Column | None, here: Place) -> Measure:
    metric = _metric(rule, here)
    arguments = dict(rule.arguments or {})
    match metric, column:
        case "rowCount", None:
            found: Measure = RowCount()
        case "duplicateValues", None:
            found = DuplicateValues(_properties(arguments, here))
        case "duplicateValues", Column(name):
            found = DuplicateValues((name,))
        case "nullValues", Column(name):
            found = NullValues(name)
        case "missingValues", Column():
            found = _missing(arguments, column, here)
        case "invalidValues", Column():
            found = _invalid(arguments, column, here)
        case _:
            where = "a property" if column else "a schema object"
            raise here.error(f"the metric `{metric}` is not one of {where}: the standard has it on the other level")
    if arguments:
        raise here.at("arguments").error(
            f"`{metric}` has the arguments {', '.join(arguments)}: raypipe executes none of these"
        )
    return found


def _metric(rule: DataQuality, here: Place) -> str:
    if rule.metric is not None and rule.rule is not None:
        raise here.at("rule").error(f"`rule` is {rule.rule!r} beside the metric {rule.metric!r}: keep `metric`")
    metric = rule.metric if rule.rule is None else _OLD_RULES.get(rule.rule)
    if metric not in _METRICS:
        stated = f"the metric `{rule.metric}`" if rule.rule is None else f"the rule `{rule.rule}`"
        raise here.error(f"raypipe cannot execute {stated}: the metrics are {', '.join(_METRICS)}")
    return metric


def _properties(arguments: dict[str, Any], here: Place) -> tuple[str, ...]:
    names = arguments.pop("properties", None)
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise here.error("`duplicateValues` of a schema object says no list of `properties` in its `arguments`: add it")
    return tuple(names)


def _missing(arguments: dict[str, Any], column: Column, here: Place) -> MissingValues:
    values = arguments.pop("missingValues", None)
    if not isinstance(values, list) or not values:
        raise here.error("`missingValues` says no list of `missingValues` in its `arguments`: add it")
    stated = checked_missing([v for v in values if v is not None], column.logical, here)
    return MissingValues(column.name, stated, null=None in values)


def _invalid(arguments: dict[str, Any], column: Column, here: Place) -> InvalidValues:
    values, pattern = arguments.pop("validValues", None), arguments.pop("pattern", None)
    if values is None and pattern is None:
        raise here.error("`invalidValues` says neither `validValues` nor `pattern` in its `arguments`: add one")
    return InvalidValues(
        column.name,
        None if values is None else checked_values(values, column.logical, here),
        None if pattern is None else checked_pattern(str(pattern), column.logical, here),
    )


def _both(before: RowRules, measure: NullValues | MissingValues | InvalidValues, here: Place) -> RowRules:
    match measure:
        case NullValues():
            return RowRules(True, before.valid_values, before.pattern, before.missing_values)
        case MissingValues(_, values, null):
            # A rule that lists null alone is one on nulls.
            listed = _once(before.missing_values, values or None, here)
            return RowRules(before.required or null, before.valid_values, before.pattern, listed)
        case InvalidValues(_, valid_values, pattern):
            return RowRules(
                before.required,
                _once(before.valid_values, valid_values, here),
                _once(before.pattern, pattern, here),
                before.missing_values,
            )


def _once(first: T | None, second: T | None, here: Place) -> T | None:
    if first is not None and second is not None:
        raise here.error("an earlier rule of this property says the same: keep one")
    return second if first is None else first
