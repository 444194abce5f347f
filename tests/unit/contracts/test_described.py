"""A contract with all that its file says, in one canonical form."""

import yaml

from raypipe.contracts.described import Note, describe, write_odcs
from raypipe.contracts.exchange.carried import to_odcs

READINGS = """\
version: 1.0.0
kind: DataContract
apiVersion: v3.1.0
id: readings
schema:
  - name: readings
    properties:
      - {logicalType: string, primaryKey: true, name: sensor}
      - {name: at, logicalType: timestamp, required: true}
      - name: site
        logicalType: string
        required: false
        quality:
          - {metric: nullValues, mustBe: 0, dimension: completeness}
          - {metric: invalidValues, arguments: {validValues: [north, "no", north], pattern: "^n"}, mustBe: 0}
          - {metric: nullValues, mustBe: 0, severity: warning}
          - {type: text, description: should be known}
      - {name: day, logicalType: date, logicalTypeOptions: {minimum: 2020-01-01}, examples: [2020-02-03]}
    customProperties:
      - {property: eventAt, value: at}
"""


def test_rules_on_values_stand_at_the_property_and_others_stay_rules():
    described = describe(READINGS, "readings.odcs.yaml")
    site = described.columns[2].stated
    assert site["required"] is True
    assert site["enum"] == [{"value": "north"}, {"value": "no"}]
    assert site["logicalTypeOptions"] == {"pattern": "^n"}
    assert [rule.get("severity", rule.get("type")) for rule in site["quality"]] == ["warning", "text"]


def test_what_the_canonical_form_leaves_out_is_said():
    assert describe(READINGS, "readings.odcs.yaml").notes == (
        Note("site.quality.0", "`nullValues` becomes a rule of the column itself, without dimension"),
    )


def test_a_contract_is_written_in_the_order_of_the_standard_and_dates_stay_text():
    text = to_odcs(describe(READINGS, "readings.odcs.yaml")).text
    written = yaml.safe_load(text)
    assert list(written) == ["apiVersion", "kind", "id", "version", "schema"]
    assert list(written["schema"][0]) == ["name", "customProperties", "properties"]
    assert list(written["schema"][0]["properties"][0]) == ["name", "logicalType", "required", "primaryKey"]
    assert written["schema"][0]["properties"][3]["examples"] == ["2020-02-03"]


def test_one_value_in_two_places_is_written_twice():
    shared = [{"property": "unitOfMeasure", "value": "K"}]
    text = write_odcs(
        {}, {"name": "r"}, [{"name": "a", "customProperties": shared}, {"name": "b", "customProperties": shared}]
    )
    assert "&" not in text
    assert text.count("unitOfMeasure") == 2
