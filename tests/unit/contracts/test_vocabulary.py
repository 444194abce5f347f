"""What the published JSON schema of the standard allows is executed, recorded or refused: no key is forgotten."""

from pathlib import Path

import pytest
from standard_keys import PLACES, STANDARD, keys, page, variants

from raypipe.contracts.odcs import load_contract
from raypipe.contracts.vocabulary import LEVELS, OPTIONS
from raypipe.errors import ContractError

CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: readings
version: 1.0.0
schema:
  - name: readings
    customProperties:
      - {property: eventAt, value: at}
    properties:
      - {name: at, logicalType: timestamp, primaryKey: true}
      - name: code
        logicalType: string
        enum: [{value: a, label: one}]
      - name: celsius
        logicalType: number
        quality:
          - {metric: nullValues, mustBe: 0}
"""


def known(keys):
    return keys.executed | keys.recorded | keys.refused


def test_every_level_is_walked():
    assert set(PLACES) == set(LEVELS)


@pytest.mark.parametrize("level", LEVELS)
def test_every_key_of_the_standard_is_known_at_its_level_and_no_other(level):
    assert known(LEVELS[level]) == keys(PLACES[level])


@pytest.mark.parametrize("level", LEVELS)
def test_a_key_has_one_fate(level):
    fates = LEVELS[level]
    assert len(known(fates)) == len(fates.executed) + len(fates.recorded) + len(fates.refused)


def asked(condition, logical):
    """Return whether a condition of the standard is about this logical type."""
    either = condition.get("anyOf", [condition])
    return any(c.get("properties", {}).get("logicalType", {}).get("const") == logical for c in either)


def options(logical):
    found = set()
    for variant in variants(STANDARD["$defs"]["SchemaProperty"]):
        if "if" in variant and asked(variant["if"], logical):
            found |= keys(variant["then"]["properties"].get("logicalTypeOptions", {}))
    return found


@pytest.mark.parametrize("logical", OPTIONS)
def test_every_option_of_a_logical_type_is_known(logical):
    assert known(OPTIONS[logical]) == options(logical)


def refusal(old, new):
    """Return why the contract does not load after the change, none when it does."""
    assert CONTRACT.count(old) == 1
    try:
        load_contract(CONTRACT.replace(old, new), "readings.odcs.yaml")
    except ContractError as error:
        return error.message
    return None


def test_every_logical_type_of_the_standard_is_executed_or_refused():
    types = STANDARD["$defs"]["SchemaBaseProperty"]["properties"]["logicalType"]["enum"]
    refused = {t: why for t in types if (why := refusal("number", t))}
    assert set(types) - set(refused) == set(OPTIONS)
    assert all(f"{t!r}" in why for t, why in refused.items())


def test_every_metric_of_the_standard_is_executed_or_refused():
    metrics = STANDARD["$defs"]["DataQualityLibrary"]["properties"]["metric"]["enum"]
    refused = {m: why for m in metrics if (why := refusal("nullValues", m))}
    assert set(metrics) - set(refused) == {"nullValues", "duplicateValues"}
    # These are executed too, but say nothing without arguments, and the last on another level.
    assert "arguments" in refused.pop("invalidValues")
    assert "arguments" in refused.pop("missingValues")
    assert "other level" in refused.pop("rowCount")
    assert not refused


def test_the_page_of_keys_is_what_the_standard_and_the_code_say():
    assert page() == Path("docs/contract-keys.md").read_text(), "write it again: its head of standard_keys says how"


@pytest.mark.parametrize("key", ["label: one", "property: eventAt"])
def test_a_misspelt_key_of_a_value_or_a_custom_property_is_refused(key):
    misspelt = key.replace("l:", "ll:").replace("y:", "i:")
    with pytest.raises(ContractError, match=f"did you mean `{key.partition(':')[0]}`"):
        load_contract(CONTRACT.replace(key, misspelt), "readings.odcs.yaml")
