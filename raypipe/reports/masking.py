"""What of a column's values a report may show: those of columns that the contract classifies as `public`, no others.

A report travels further than the lake: into mail and into the registry. So what nobody has classified is not shown,
neither is a column that the contract does not have, nor text that could not be split into columns. What is shown
instead says what kind of value it was, because `null` where a number is required is the whole story.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from raypipe.contracts.contract import Contract
from raypipe.contracts.generation_profile import ColumnSummary

PUBLIC = "public"
_LONGEST_VALUE = 200


def public_columns(contract: Contract) -> frozenset[str]:
    """Return the columns whose values may be shown."""
    return frozenset(f.name for f in contract.fields if f.classification == PUBLIC)


def masked_record(raw: str | None, public: frozenset[str]) -> Mapping[str, str] | None:
    """Return a refused record's columns, with values that may be shown; None when it is not a JSON object.

    Examples
    --------
    >>> masked_record('{"city": "Oslo", "name": "Ann", "age": 7}', frozenset({"city"}))
    {'city': '"Oslo"', 'name': 'text of 3 characters', 'age': 'a number'}
    """
    try:
        record = json.loads(raw or "")
    except ValueError:
        return None
    if not isinstance(record, dict):
        return None
    return {name: _shown(value) if name in public else _described(value) for name, value in record.items()}


def masked_column(summary: ColumnSummary) -> ColumnSummary:
    """Return the summary without a single value of the column: counts, and the histogram's shape.

    Categories become `value 1`, `value 2` .. in order of how often they occur.
    """
    counts = summary.counts
    categories = counts.categories
    if categories is not None:
        numbers = sorted((n for _, n in categories), reverse=True)
        categories = tuple((f"value {place}", n) for place, n in enumerate(numbers, start=1))
    return ColumnSummary(
        replace(counts, minimum=None, maximum=None, categories=categories), histogram=summary.histogram
    )


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}… ({len(text)} characters)"


def _described(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return f"text of {len(value)} characters"
        case int() | float():
            return "a number"
        case _:
            return "a list or an object"
