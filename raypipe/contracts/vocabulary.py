"""Every key of the Open Data Contract Standard 3.x that raypipe reads, and what becomes of it.

A key is *executed* (it decides about rows), *recorded* (it describes; nothing depends on it) or *refused* (it states
a rule that raypipe cannot execute, and a rule is never ignored in silence). A key in none of the three is a mistake in
the file. Knows names only. `docs/contract-keys.md` shows the same lists, and a test compares them.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from raypipe.contracts.document import Path, Place
from raypipe.errors import ContractError


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one level of a contract."""

    executed: frozenset[str]
    recorded: frozenset[str]
    refused: frozenset[str] = frozenset()

    def find(self, place: Place, key: str) -> ContractError | None:
        """Return the error that `key` is here, or none."""
        if key in self.executed | self.recorded:
            return None
        if key in self.refused:
            return place.error(
                f"raypipe cannot execute `{key}` yet, and does not ignore it: remove it, or check it elsewhere"
            )
        near = difflib.get_close_matches(key, sorted(self.executed | self.recorded), 1)
        hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(sorted(self.executed | self.recorded))}"
        return place.error(f"`{key}` is not a key here: {hint}")


def _keys(executed: str, recorded: str, refused: str = "") -> Keys:
    return Keys(frozenset(executed.split()), frozenset(recorded.split()), frozenset(refused.split()))


LEVELS = {
    "contract": _keys(
        "version schema slaProperties slaDefaultElement",
        "apiVersion kind id name tenant tags status servers dataProduct description domain support price team roles "
        "authoritativeDefinitions customProperties context contractCreatedTs",
    ),
    "schema": _keys(
        "name properties customProperties quality relationships",
        "id physicalType physicalName description businessName deprecated synonyms authoritativeDefinitions tags "
        "logicalType dataGranularityDescription context",
    ),
    "property": _keys(
        "name logicalType logicalTypeOptions required unique primaryKey primaryKeyPosition enum quality physicalName "
        "relationships",
        "id physicalType description businessName deprecated synonyms authoritativeDefinitions tags customProperties "
        "semanticType partitioned partitionKeyPosition classification transformSourceObjects transformLogic "
        "transformDescription examples criticalDataElement",
        "encryptedName properties items map",
    ),
    "quality": _keys(
        "type metric rule arguments query unit severity mustBe mustNotBe mustBeGreaterThan mustBeGreaterOrEqualTo "
        "mustBeLessThan mustBeLessOrEqualTo mustBeBetween mustNotBeBetween",
        "id name description dimension businessImpact authoritativeDefinitions customProperties tags method schedule "
        "scheduler",
        "engine implementation",
    ),
    "relationship": _keys("type from to customProperties", "id"),
    "SLA property": _keys(
        "property value unit element customProperties",
        "id valueExt driver description scheduler schedule authoritativeDefinitions",
    ),
    "enum value": _keys("value", "id label description tags customProperties authoritativeDefinitions"),
    "custom property of the schema object": _keys("property value", "id description vendor"),
}
"""Level -> its keys."""

OPTIONS = {
    "string": _keys("minLength maxLength pattern", "", "format"),
    "integer": _keys("minimum maximum exclusiveMinimum exclusiveMaximum multipleOf format", ""),
    "number": _keys("minimum maximum exclusiveMinimum exclusiveMaximum multipleOf format", ""),
    "boolean": _keys("", ""),
    "date": _keys("minimum maximum exclusiveMinimum exclusiveMaximum format", ""),
    "timestamp": _keys("minimum maximum exclusiveMinimum exclusiveMaximum format timezone defaultTimezone", ""),
}
"""Logical type -> keys of its `logicalTypeOptions`. Other logical types are refused."""


LATENCY, RETENTION = ("latency", "ly", "freshness"), ("retention", "re")
"""What the `property` of an agreement that is executed may be, in lower case; other agreements are recorded."""


def check_keys(root: Place) -> None:
    """Return when every key of the document is executed or recorded.

    Raises
    ------
    ContractError
        At the first key that is refused or unknown.
    """
    for path in root.document.lines:
        level = _level(path)
        if level is not None and (error := LEVELS[level].find(Place(root.document, path), str(path[-1]))):
            raise error


def _level(path: Path) -> str | None:
    match path:
        case (str(),):
            return "contract"
        case ("schema", int(), str()):
            return "schema"
        case ("schema", int(), "properties", int(), str()):
            return "property"
        case ("schema", int(), "quality", int(), str()) | (
            "schema",
            int(),
            "properties",
            int(),
            "quality",
            int(),
            str(),
        ):
            # Rules in words are documentation, whatever else they carry.
            return "quality"
        case ("schema", int(), "relationships", int(), str()) | (
            "schema",
            int(),
            "properties",
            int(),
            "relationships",
            int(),
            str(),
        ):
            return "relationship"
        case ("slaProperties", int(), str()):
            return "SLA property"
        case ("schema", int(), "properties", int(), "enum", int(), str()):
            return "enum value"
        case ("schema", int(), "customProperties", int(), str()):
            return "custom property of the schema object"
        case _:
            return None
