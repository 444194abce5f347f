"""One property of an ODCS schema as a field with rules.

Knows logical types and their options. Does not know the rest of the contract.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
from open_data_contract_standard.model import SchemaProperty

from raypipe.contracts.comparison import ZERO
from raypipe.contracts.contract import TIMESTAMP, Bound, Field, TimeText
from raypipe.contracts.document import Place
from raypipe.contracts.quality import Column, read_rules
from raypipe.contracts.table_rules import DuplicateValues, TableRule, table_rule
from raypipe.contracts.times import ISO_TIMESTAMP_WITHOUT_ZONE, time_text
from raypipe.contracts.values import checked_pattern, checked_values
from raypipe.contracts.vocabulary import OPTIONS

_TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": TIMESTAMP,
}
_STORED = {"integer": "i64", "number": "f64"}


def read_property(prop: SchemaProperty, place: Place, *, sole_key: bool) -> tuple[Field, tuple[TableRule, ...]]:
    """Return the field that the property promises, with every rule on one row, and those on the table.

    Parameters
    ----------
    prop
        The property.
    place
        Where it stands.
    sole_key
        Whether it alone is the primary key; then ingest keeps it unique.

    Raises
    ------
    ContractError
        When the property is not a scalar column, or states a rule that cannot be executed.
    """
    logical, name = _check_shape(prop, place)
    options, here = prop.logicalTypeOptions or {}, place.at("logicalTypeOptions")
    for key in options:
        if error := OPTIONS[logical].find(here.at(key), key):
            raise error
    text = _text(options, logical, here)
    minimum, maximum = _bound(options, "minimum", logical, here), _bound(options, "maximum", logical, here)
    min_length, max_length = _length(options, "minLength", here), _length(options, "maxLength", here)
    if minimum and maximum and minimum.value > maximum.value:  # type: ignore[operator]
        raise here.at("maximum").error(
            f"the minimum {minimum.value} is above the maximum {maximum.value}: no value could be valid"
        )
    if min_length is not None and max_length is not None and min_length > max_length:
        raise here.at("maxLength").error(
            f"minLength {min_length} is above maxLength {max_length}: no value could be valid"
        )
    quality = read_rules(prop.quality or [], place, Column(name, logical))
    rules = quality.error
    if prop.enum is not None and rules.valid_values is not None:
        raise place.at("enum").error("`enum` and an `invalidValues` rule both list the valid values: keep one")
    values = rules.valid_values
    if prop.enum is not None:
        values = checked_values([e.value for e in prop.enum], logical, place)
    unique = (table_rule(DuplicateValues((name,), in_table=True), ZERO),) if prop.unique and not sole_key else ()
    field = Field(
        name=name,
        type=_TYPES[logical],
        required=bool(prop.required or prop.primaryKey or rules.required),
        minimum=minimum,
        maximum=maximum,
        min_length=min_length,
        max_length=max_length,
        pattern=_pattern(options.get("pattern"), rules.pattern, logical, here),
        valid_values=values,
        text=text,
        classification=prop.classification,
        warned=quality.warning,
        missing_values=rules.missing_values,
        multiple_of=_multiple(options, logical, here),
    )
    return field, (*quality.table, *unique)


def _check_shape(prop: SchemaProperty, place: Place) -> tuple[str, str]:
    if not prop.name:
        raise place.error("a property has no `name`: name the column")
    logical = prop.logicalType
    if logical not in _TYPES:
        raise place.at("logicalType").error(
            f"`{prop.name}` has the logical type {logical!r}: raypipe executes {', '.join(_TYPES)}"
        )
    if prop.physicalName not in (None, prop.name):
        raise place.at("physicalName").error(
            f"`{prop.name}` is called {prop.physicalName!r} in the objects, but raypipe reads columns by "
            "`name`: make them equal"
        )
    return logical, prop.name


def _bound(options: dict[str, Any], end: str, logical: str, place: Place) -> Bound | None:
    exclusive = f"exclusive{end.capitalize()}"
    stated = [key for key in (end, exclusive) if key in options]
    if not stated:
        return None
    if len(stated) == 2:
        raise place.at(exclusive).error(f"`{end}` and `{exclusive}` are both stated: keep the tighter one")
    key = stated[0]
    return Bound(_limit(options[key], logical, place.at(key)), exclusive=key == exclusive)


def _limit(value: object, logical: str, place: Place) -> int | float | date | datetime:
    if logical in ("integer", "number"):
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise place.error(f"the limit {value!r} is not a finite number: write one")
        if logical == "integer" and not isinstance(value, int):
            raise place.error(f"the limit {value!r} of an integer has a fraction: write a whole number")
        return value
    try:
        if logical == "date":
            return date.fromisoformat(str(value))
        moment = datetime.fromisoformat(str(value))
    except ValueError as error:
        raise place.error(f"the limit {value!r} is not a {logical} in ISO 8601: {error}") from error
    if moment.tzinfo is None:
        raise place.error(f"the limit {value!r} names no zone: write it as {value}Z")
    return moment.astimezone(UTC)


def _multiple(options: dict[str, Any], logical: str, place: Place) -> int | float | None:
    if "multipleOf" not in options:
        return None
    step = _limit(options["multipleOf"], logical, place.at("multipleOf"))
    assert isinstance(step, int | float)
    if step <= 0:
        raise place.at("multipleOf").error(f"`multipleOf` is {step}: write a number above 0")
    return step


def _length(options: dict[str, Any], key: str, place: Place) -> int | None:
    value = options.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise place.at(key).error(f"`{key}` is {value!r}: write a whole number of characters, at least 0")
    return value


def _pattern(option: object, rule: str | None, logical: str, place: Place) -> str | None:
    if option is None:
        return rule
    if rule is not None:
        raise place.at("pattern").error("`pattern` is also stated by an `invalidValues` rule: keep one")
    return checked_pattern(str(option), logical, place)


def _text(options: dict[str, Any], logical: str, place: Place) -> TimeText | None:
    stated = options.get("format")
    if logical not in ("date", "timestamp"):
        if stated not in (None, _STORED.get(logical)):
            raise place.at("format").error(
                f"the format {stated!r} cannot be executed: a {logical} is kept as {_STORED.get(logical)}; state its "
                "range by `minimum` and `maximum`"
            )
        return None
    zone, zoned = options.get("defaultTimezone"), options.get("timezone")
    if zone not in (None, "UTC", "Etc/UTC"):
        raise place.at("defaultTimezone").error(
            f"times without a zone are read as UTC, not {zone!r}: write the zone at the source"
        )
    if stated is None:
        return ISO_TIMESTAMP_WITHOUT_ZONE if zoned is False else None
    try:
        text = time_text(str(stated), clock=logical == "timestamp")
    except ValueError as error:
        raise place.at("format").error(f"{error}") from error
    if zoned is not None and zoned != text.zoned:
        raise place.at("timezone").error(
            f"`timezone` is {zoned}, but the format {stated!r} has {'a' if text.zoned else 'no'} zone "
            "(XXX): make them agree"
        )
    return text
