"""The `slaProperties` of a contract: how old the newest row may be, which is executed, and what is only recorded.

Knows the standard's words for time. Does not know rows or clocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import timedelta

import pyarrow as pa
from open_data_contract_standard.model import ServiceLevelAgreementProperty

from raypipe.contracts.comparison import Comparison, Operator
from raypipe.contracts.contract import TIMESTAMP
from raypipe.contracts.document import Place
from raypipe.contracts.quality import severity_of
from raypipe.contracts.table_rules import Age, TableRule, table_rule

_UNITS = {
    timedelta(seconds=1): "s sec second seconds",
    timedelta(minutes=1): "min minute minutes",
    timedelta(hours=1): "h hr hour hours",
    timedelta(days=1): "d day days",
    timedelta(weeks=1): "w wk week weeks",
    timedelta(days=365): "y yr year years",
}
_LENGTHS = {word: length for length, words in _UNITS.items() for word in words.split()}
_LATENCY, _RETENTION = ("latency", "ly", "freshness"), ("retention", "re")


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
        if (sla.property or "").lower() in _LATENCY:
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


def retention(agreed: Sequence[ServiceLevelAgreementProperty]) -> tuple[str, ...]:
    """Return what is said about how long rows are kept, in words; recorded only."""
    return tuple(
        " ".join(str(part) for part in (sla.value, sla.unit, sla.element and f"({sla.element})") if part is not None)
        for sla in agreed
        if (sla.property or "").lower() in _RETENTION
    )
