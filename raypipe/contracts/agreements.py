"""The `slaProperties` of a contract: how old the newest row may be, and how long rows are kept. Others are recorded.

Knows the standard's words for time. Does not know rows or clocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pyarrow as pa
from open_data_contract_standard.model import ServiceLevelAgreementProperty

from raypipe.contracts.comparison import Comparison, Operator
from raypipe.contracts.contract import TIMESTAMP
from raypipe.contracts.document import Place
from raypipe.contracts.quality import severity_of
from raypipe.contracts.retention import Retention
from raypipe.contracts.table_rules import Age, TableRule, table_rule
from raypipe.contracts.vocabulary import LATENCY, RETENTION

_UNITS = {
    timedelta(seconds=1): "s sec second seconds",
    timedelta(minutes=1): "min minute minutes",
    timedelta(hours=1): "h hr hour hours",
    timedelta(days=1): "d day days",
    timedelta(weeks=1): "w wk week weeks",
    timedelta(days=365): "y yr year years",
}
_LENGTHS = {word: length for length, words in _UNITS.items() for word in words.split()}
_MONTHS = {"mo": 1, "month": 1, "months": 1, "y": 12, "yr": 12, "year": 12, "years": 12}


def read_latencies(
    agreed: Sequence[ServiceLevelAgreementProperty], default: str, name: str, columns: pa.Schema, place: Place
) -> tuple[TableRule, ...]:
    """Return the rules that `latency` and `freshness` state: the newest time of an element is at most so old.

    Parameters
    ----------
    agreed
        The `slaProperties`.
    default
        The element of one that names none.
    name
        Of the schema object.
    columns
        What its rows consist of.
    place
        Root of the contract.

    Raises
    ------
    ContractError
        When the value, the unit or the element cannot be executed.
    """
    found: list[TableRule] = []
    for i, sla in enumerate(agreed):
        if (sla.property or "").lower() in LATENCY:
            here = place.at("slaProperties", i)
            found += _latency(sla, [e.strip() for e in (sla.element or default).split(",")], name, columns, here)
    return tuple(found)


def _latency(
    sla: ServiceLevelAgreementProperty, elements: Sequence[str], name: str, columns: pa.Schema, here: Place
) -> Iterator[TableRule]:
    length = _LENGTHS.get((sla.unit or "").lower())
    if length is None:
        known = ", ".join(words.split()[0] for words in _UNITS.values())
        raise here.at("unit").error(f"the unit of `{sla.property}` is {sla.unit!r}: write one of {known}")
    most = sla.value
    if isinstance(most, bool) or not isinstance(most, int | float) or not math.isfinite(most) or most <= 0:
        raise here.at("value").error(f"`{sla.property}` is {most!r}: write a number above 0")
    severity = severity_of(next((c.value for c in sla.customProperties or [] if c.property == "severity"), None), here)
    for element in elements:
        table, _, column = element.rpartition(".")
        if table not in ("", name) or column not in columns.names:
            raise here.at("element").error(f"the element `{element}` is no column of `{name}`: write {name}.COLUMN")
        if columns.field(column).type not in (TIMESTAMP, pa.date32()):
            raise here.at("element").error(f"the element `{element}` is no timestamp and no date: it has no age")
        yield table_rule(Age(column, length), Comparison(Operator.AT_MOST, (most,)), str(sla.unit), severity)


def read_retention(
    agreed: Sequence[ServiceLevelAgreementProperty], default: str, name: str, event_at: str, place: Place
) -> Retention | None:
    """Return how long rows are kept; None where nothing is said about it.

    Parameters
    ----------
    agreed
        The `slaProperties`.
    default
        The element of one that names none.
    name
        Of the schema object.
    event_at
        The column that says when an event happened, from which the time is counted.
    place
        Root of the contract.

    Raises
    ------
    ContractError
        When the value, the unit or the element cannot be executed, or it is said twice.
    """
    said = [(i, sla) for i, sla in enumerate(agreed) if (sla.property or "").lower() in RETENTION]
    if not said:
        return None
    if len(said) > 1:
        raise place.at("slaProperties", said[1][0]).error("the retention is stated twice: leave one")
    number, sla = said[0]
    here = place.at("slaProperties", number)
    element = (sla.element or default).strip()
    if element not in (event_at, name, f"{name}.{event_at}"):
        raise here.at("element").error(
            f"the retention is counted from `{element}`, but rows are kept by when their events happened: "
            f"write {name}.{event_at}"
        )
    return _kept(sla.value, sla.unit, here)


def _kept(value: Any, unit: str | None, here: Place) -> Retention:
    word = (unit or "").lower()
    months, length = _MONTHS.get(word), _LENGTHS.get(word)
    if months is None and length is None:
        known = ", ".join([*(words.split()[0] for words in _UNITS.values()), "month"])
        raise here.at("unit").error(f"the unit of the retention is {unit!r}: write one of {known}")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise here.at("value").error(f"the retention is {value!r}: write a number above 0")
    text = f"{value} {unit}"
    if months is None:
        assert length is not None
        try:
            return Retention(text, length=value * length)
        except OverflowError:
            raise here.at("value").error(f"the retention is {text}: nothing is that old; leave it out") from None
    if not float(value * months).is_integer():
        raise here.at("value").error(f"the retention is {text}, which is no whole number of months: write it in days")
    return Retention(text, months=int(value * months))
