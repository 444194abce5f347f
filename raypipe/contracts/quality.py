"""The `quality` rules of a contract that speak about one row at a time.

Knows which of the standard's rules are properties of a row. Does not know columns' other rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from open_data_contract_standard.model import DataQuality

from raypipe.contracts.document import Place

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stated:
    """What the quality rules of one severity say about one property, as the file has it."""

    required: bool = False
    valid_values: tuple[object, ...] | None = None
    pattern: str | None = None


def read_rules(rules: list[DataQuality], place: Place) -> tuple[Stated, Stated]:
    """Return the row rules that `quality` states: those that refuse a row, and those of severity `warning`.

    Rules of type `text` are documentation. Of the library, `nullValues` and `invalidValues` (with `validValues` or
    `pattern`) that must be 0 hold for each row; on a whole schema object no rule does.

    Parameters
    ----------
    rules
        The rules of a property or of a schema object.
    place
        That property or object.

    Raises
    ------
    ContractError
        At any other rule.
    """
    found = {"error": Stated(), "warning": Stated()}
    on_property = "properties" in place.path
    for i, rule in enumerate(rules):
        here = place.at("quality", i)
        if rule.type == "text":
            continue
        _check_executable(rule, here, on_property=on_property)
        arguments = dict(rule.arguments or {})
        values, pattern = arguments.pop("validValues", None), arguments.pop("pattern", None)
        if rule.metric == "invalidValues" and values is None and pattern is None:
            raise here.error("`invalidValues` says neither `validValues` nor `pattern` in its `arguments`: add one")
        if arguments or (rule.metric == "nullValues" and (values or pattern)):
            raise here.at("arguments").error(
                f"`{rule.metric}` has the arguments {rule.arguments}: raypipe executes none of these"
            )
        severity = rule.severity or "error"
        before = found[severity]
        found[severity] = Stated(
            required=before.required or rule.metric == "nullValues",
            valid_values=_once(before.valid_values, None if values is None else tuple(values), here),
            pattern=_once(before.pattern, None if pattern is None else str(pattern), here),
        )
    return found["error"], found["warning"]


def _check_executable(rule: DataQuality, here: Place, *, on_property: bool) -> None:
    if rule.type not in (None, "library"):
        raise here.error(
            f"raypipe cannot execute quality rules of type `{rule.type}`: use a library rule, or check it elsewhere"
        )
    if not on_property or rule.metric not in ("nullValues", "invalidValues"):
        raise here.error(
            f"raypipe cannot execute the metric `{rule.metric}` here: of each property it executes nullValues and "
            "invalidValues; repeated keys are removed on ingest without a rule"
        )
    if isinstance(rule.mustBe, bool) or rule.mustBe != 0:
        raise here.error(f"`{rule.metric}` must be {rule.mustBe}: raypipe refuses single rows, so write `mustBe: 0`")
    if rule.severity not in (None, "error", "warning"):
        raise here.at("severity").error(
            f"the severity is `{rule.severity}`: write `error` (the row is refused) or `warning` (the row is accepted "
            "and counted), or remove the rule"
        )


def _once(first: T | None, second: T | None, here: Place) -> T | None:
    if first is not None and second is not None:
        raise here.error("an earlier rule of this property says the same: keep one")
    return second if first is None else first
