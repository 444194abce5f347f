"""The published JSON schema of the standard, and the page that says what becomes of each of its keys.

`python tests/unit/standard_keys.py > docs/contract-keys.md` writes the page.
"""

import json
from functools import reduce
from importlib.resources import files

from raypipe.contracts.vocabulary import LATENCY, LEVELS, OPTIONS, RETENTION

STANDARD = json.loads((files("open_data_contract_standard") / "schema.json").read_text())
DEFINED = STANDARD["$defs"]
PLACES = {
    "contract": STANDARD,
    "schema": DEFINED["SchemaObject"],
    "property": DEFINED["SchemaProperty"],
    "quality": DEFINED["DataQuality"],
    "relationship": DEFINED["RelationshipBase"],
    "SLA property": DEFINED["ServiceLevelAgreementProperty"],
    "enum value": DEFINED["EnumValue"],
    "custom property of the schema object": DEFINED["CustomProperty"],
}
HEAD = """\
# Keys of a contract

Every field of the Open Data Contract Standard's JSON schema, and what raypipe makes of it: **executed**, it decides
about rows; **recorded**, it describes and nothing depends on it; **refused**, `raypipe contract lint` ends with exit
code 2 at its line. What a rule does is in [contracts](contracts.md). This page is generated, and a test compares it
with the standard and with what the code knows.

"""


def variants(schema):
    """Yield the schema and all that it takes over: by reference, by combination, or under a condition."""
    yield schema
    if "$ref" in schema:
        yield from variants(reduce(lambda found, name: found[name], schema["$ref"].split("/")[1:], STANDARD))
    for combination in ("allOf", "oneOf", "anyOf"):
        for part in schema.get(combination, []):
            yield from variants(part)
    for branch in {"then", "else"} & schema.keys():
        yield from variants(schema[branch])


def keys(schema):
    return {key for variant in variants(schema) for key in variant.get("properties", {})}


def below(schema, path):
    """Yield (path, keys) of every object at or below a schema."""
    if found := keys(schema):
        yield path, found
        for key in sorted(found):
            for child in [v["properties"][key] for v in variants(schema) if key in v.get("properties", {})]:
                yield from below(child, f"{path}.{key}")
    for variant in variants(schema):
        if isinstance(variant.get("items"), dict):
            yield from below(variant["items"], f"{path}[]")


def listed(names):
    return " ".join(f"`{n}`" for n in sorted(names))


def of_level(level):
    fates = LEVELS[level]
    return f"| {level} | {listed(fates.executed)} | {listed(fates.recorded)} | {listed(fates.refused)} |"


def recorded():
    """Yield (path, keys) of everything below a key that is recorded, the same object only once."""
    seen = set()
    for level, fates in LEVELS.items():
        for key in sorted(fates.recorded):
            for child in [v["properties"][key] for v in variants(PLACES[level]) if key in v.get("properties", {})]:
                for path, found in below(child, key):
                    if frozenset(found) not in seen:
                        seen.add(frozenset(found))
                        yield path, found


def page():
    table = ["| level | executed | recorded | refused |", "|---|---|---|---|", *map(of_level, LEVELS)]
    options = ["| options of | executed | refused |", "|---|---|---|"]
    options += [f"| {logical} | {listed(k.executed)} | {listed(k.refused)} |" for logical, k in OPTIONS.items()]
    agreed = [
        "| `slaProperties` whose `property` is | |",
        "|---|---|",
        f"| {listed(LATENCY)} | executed when objects are ingested |",
    ]
    agreed += [
        f"| {listed(RETENTION)} | executed by [`raypipe maintain`](upkeep.md#retention) |",
        "| another | recorded |",
    ]
    more = ["| below a recorded key | all recorded |", "|---|---|"]
    more += [f"| `{path}` | {listed(found)} |" for path, found in recorded()]
    types = "Other logical types (`time`, `object`, `array`, `map`, `vector`) are refused, with all of their options."
    return HEAD + "\n".join([*table, "", *options, "", types, "", *agreed, "", *more, ""])


if __name__ == "__main__":
    print(page(), end="")
