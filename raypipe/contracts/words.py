"""The rules of a contract in words, for people who do not write contracts.

Reads the keys of the standard, whether or not raypipe executes them: what it has no words for is shown as it stands.
"""

from __future__ import annotations

from collections.abc import Iterator

from raypipe.contracts.described import Keys, listed, mapped

_ENDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "pattern": "matches {}",
    "multipleOf": "a multiple of {}",
}
_METRICS = {
    "nullValues": "rows without a value",
    "missingValues": "rows with a value that stands for none",
    "invalidValues": "rows with a value that is not valid",
    "duplicateValues": "repeated values",
    "rowCount": "rows",
}
_OPERATORS = {
    "mustBe": "must be {}",
    "mustNotBe": "must not be {}",
    "mustBeGreaterThan": "must be above {}",
    "mustBeGreaterOrEqualTo": "must be at least {}",
    "mustBeLessThan": "must be below {}",
    "mustBeLessOrEqualTo": "must be at most {}",
    "mustBeBetween": "must be between {}",
    "mustNotBeBetween": "must not be between {}",
}


def rules_in_words(stated: Keys) -> tuple[str, ...]:
    """Return what holds of the values of a column besides its type and whether they are required.

    Parameters
    ----------
    stated
        The keys of its property in canonical form, as `describe` returns them.

    Examples
    --------
    >>> rules_in_words({"logicalTypeOptions": {"minimum": 1, "exclusiveMaximum": 9}, "unique": True})
    ('at least 1', 'below 9', 'unique')
    """
    return tuple(_of_column(stated))


def table_rules_in_words(schema: Keys) -> tuple[str, ...]:
    """Return what holds of all rows together.

    Parameters
    ----------
    schema
        The keys of the schema object.
    """
    return (*map(_quality, listed(schema.get("quality"))), *map(_relationship, listed(schema.get("relationships"))))


def _of_column(stated: Keys) -> Iterator[str]:
    options = mapped(stated.get("logicalTypeOptions"))
    yield from (words.format(options[key]) for key, words in _ENDS.items() if key in options)
    low, high = options.get("minLength"), options.get("maxLength")
    match low, high:
        case None, None:
            pass
        case _, None:
            yield f"at least {low} characters"
        case None, _:
            yield f"at most {high} characters"
        case _:
            yield f"{low} to {high} characters" if low != high else f"{low} characters"
    if "format" in options:
        yield f"written as {options['format']}"
    if options.get("timezone") is False and "format" not in options:
        yield "written without a zone, in UTC"
    if enum := listed(stated.get("enum")):
        yield f"one of {', '.join(map(_valid_value, enum))}"
    if stated.get("unique"):
        yield "unique"
    yield from map(_quality, listed(stated.get("quality")))
    yield from map(_relationship, listed(stated.get("relationships")))


def _valid_value(entry: Keys) -> str:
    said = entry.get("label") or entry.get("description")
    return f"{entry.get('value')} ({said})" if said else str(entry.get("value"))


def _quality(rule: Keys) -> str:
    if rule.get("type") == "text":
        return str(rule.get("description") or rule.get("name") or "")
    what = rule.get("metric") or rule.get("rule")
    if what is None:
        what = rule.get("name") or rule.get("query") or rule.get("implementation")
    arguments = [f"{key} {_value(value)}" for key, value in mapped(rule.get("arguments")).items()]
    words = [str(_METRICS.get(str(what), what)) + (f" ({'; '.join(arguments)})" if arguments else "")]
    words += [said.format(_value(rule[key])) for key, said in _OPERATORS.items() if rule.get(key) is not None]
    if rule.get("unit") not in (None, "rows"):
        words.append("%" if rule["unit"] == "percent" else str(rule["unit"]))
    warned = ", else a warning" if rule.get("severity") == "warning" else ""
    return " ".join(words) + warned


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list) and len(value) == 2 and all(isinstance(v, int | float) for v in value):
        return f"{value[0]} and {value[1]}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _relationship(relationship: Keys) -> str:
    ends = {
        end: ", ".join(map(str, listed(to))) or str(to) for end, to in relationship.items() if end in ("from", "to")
    }
    return f"{ends['from']} refers to {ends.get('to')}" if "from" in ends else f"refers to {ends.get('to')}"
