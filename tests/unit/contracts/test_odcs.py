"""Every rule of a contract file is executed, or the file is refused at its line."""

from datetime import UTC, date, datetime

import pyarrow as pa
import pytest

from raypipe.contracts.contract import TIMESTAMP, Bound
from raypipe.contracts.odcs import load_contract
from raypipe.errors import ContractError

SENSORS = """\
apiVersion: v3.1.0
kind: DataContract
id: sensors
version: 1.2.0
status: active
description: {purpose: readings of a machine}
team: {name: plant}
schema:
  - name: readings
    customProperties:
      - {property: eventAt, value: measured_at}
      - {property: knownAt, value: sent_at}
    properties:
      - {name: measured_at, logicalType: timestamp, primaryKey: true, primaryKeyPosition: 2}
      - {name: sensor, logicalType: string, primaryKey: true, primaryKeyPosition: 1, classification: public}
      - {name: sent_at, logicalType: timestamp, required: true}
      - name: site
        logicalType: string
        enum: [{value: north}, {value: south}]
      - name: code
        logicalType: string
        logicalTypeOptions: {minLength: 2, maxLength: 4, pattern: "^[A-Z]+$"}
      - name: celsius
        logicalType: number
        quality:
          - {metric: nullValues, mustBe: 0}
          - {type: text, description: should look plausible}
        logicalTypeOptions:
          exclusiveMinimum: -273.15
          maximum: 2000
      - name: retries
        logicalType: integer
        quality:
          - {type: library, metric: invalidValues, arguments: {validValues: [0, 1]}, mustBe: 0}
      - {name: mounted_on, logicalType: date, logicalTypeOptions: {format: dd.MM.yyyy, minimum: 2000-01-01}}
      - {name: armed, logicalType: boolean}
"""


def load(text=SENSORS):
    return load_contract(text, "sensors.odcs.yaml")


def refused(text):
    with pytest.raises(ContractError) as caught:
        load(text)
    assert caught.value.file == "sensors.odcs.yaml"
    return caught.value


def line_of(text, part):
    return next(i for i, line in enumerate(text.splitlines(), 1) if part in line)


def test_a_contract_states_columns_rules_key_and_clocks():
    contract = load()
    assert (contract.name, contract.version) == ("readings", "1.2.0")
    assert contract.key == ("sensor", "measured_at")
    assert (contract.event_at, contract.known_at) == ("measured_at", "sent_at")
    assert contract.schema.field("measured_at").type == TIMESTAMP
    assert contract.schema.field("retries").type == pa.int64()
    assert contract.field("sensor").required, "a key is required without saying so"
    assert contract.field("sensor").classification == "public"
    assert contract.field("site").valid_values == ("north", "south")
    code = contract.field("code")
    assert (code.min_length, code.max_length, code.pattern) == (2, 4, "^[A-Z]+$")
    celsius = contract.field("celsius")
    assert celsius.required
    assert (celsius.minimum, celsius.maximum) == (Bound(-273.15, exclusive=True), Bound(2000))
    assert contract.field("retries").valid_values == (0, 1)
    assert contract.field("mounted_on").minimum == Bound(date(2000, 1, 1))
    assert contract.field("mounted_on").text.directives == "%d.%m.%Y"
    assert not contract.field("armed").required


def test_a_limit_of_a_timestamp_is_read_in_its_zone():
    text = SENSORS.replace(
        "{name: sent_at, logicalType: timestamp, required: true}",
        "{name: sent_at, logicalType: timestamp, required: true, logicalTypeOptions: "
        "{minimum: '2013-01-01T02:00:00+02:00'}}",
    )
    assert load(text).field("sent_at").minimum == Bound(datetime(2013, 1, 1, tzinfo=UTC))


def test_the_digest_follows_the_meaning_and_not_the_words():
    digest = load().digest
    assert digest == load(SENSORS.replace("readings of a machine", "other words").replace("1.2.0", "1.2.1")).digest
    assert digest != load(SENSORS.replace("maximum: 2000", "maximum: 2001")).digest
    assert digest != load(SENSORS.replace("pattern:", "pattern: ").replace("[A-Z]+", "[A-Y]+")).digest
    assert len(digest) == 64


BROKEN = {
    "an SQL rule that cannot be parsed": (
        "{metric: nullValues, mustBe: 0}",
        "{type: sql, query: SELECT 1 FROM, mustBe: 0}",
        "syntax error",
        None,
    ),
    "a custom rule": ("{metric: nullValues, mustBe: 0}", "{type: custom, name: soda}", "type `custom`", None),
    "a metric over rows": ("{metric: nullValues, mustBe: 0}", "{metric: rowCount, mustBe: 0}", "rowCount", None),
    "two operators": (
        "{metric: nullValues, mustBe: 0}",
        "{metric: nullValues, mustBe: 0, mustBeLessThan: 5}",
        "exactly one operator",
        None,
    ),
    "an unknown severity": ("metric: nullValues, ", "metric: nullValues, severity: info, ", "severity", None),
    "an unknown argument": ("validValues: [0, 1]", "validValues: [0, 1], unit: x", "unit", None),
    "a relationship by ids": (
        "{name: armed,",
        "{name: armed, relationships: [{to: schema/a/properties/b}],",
        "TABLE.COLUMN",
        None,
    ),
    "a string format": ("minLength: 2", "format: email", "format", None),
    "a multiple of nothing": ("maximum: 2000", "multipleOf: 0", "a number above 0", None),
    "a multiple that is no number": ("maximum: 2000", "multipleOf: two", "not a finite number", None),
    "an option of another type": ("maximum: 2000", "maxLength: 2000", "maxLength", None),
    "a misspelt key": ("{name: armed,", "{name: armed, requierd: true,", "did you mean `required`", None),
    "a misspelt option": ("maximum: 2000", "maximun: 2000", "did you mean `maximum`", None),
    "a misspelt clock": ("property: knownAt", "property: known_at", "did you mean `knownAt`", None),
    "a nested column": ("logicalType: boolean", "logicalType: object", "'object'", None),
    "a look-around": ("^[A-Z]+$", "(?=A)", "look-around", None),
    "a limit that is no number": ("maximum: 2000", "maximum: hot", "'hot'", None),
    "a limit without a zone": (
        "{name: sent_at, logicalType: timestamp,",
        "{name: sent_at, logicalType: timestamp, logicalTypeOptions: {minimum: '2013-01-01T00:00:00'},",
        "names no zone",
        None,
    ),
    "an empty range": ("maximum: 2000", "maximum: -300", "above the maximum", None),
    "a date format it cannot read": ("dd.MM.yyyy", "d MMM yy", "'d'", None),
    "a date format with a hole": ("dd.MM.yyyy", "MM.yyyy", "leaves out dd", None),
    "another zone": (
        "{name: sent_at, logicalType: timestamp,",
        "{name: sent_at, logicalType: timestamp, logicalTypeOptions: {defaultTimezone: Europe/Paris},",
        "Europe/Paris",
        None,
    ),
    "an enum of the wrong type": ("{value: south}", "{value: NO}", "needs quotes", "name: site"),
    "a reserved column": ("{name: armed,", "{name: event_id,", "rename it", None),
    "a column twice": ("{name: armed,", "{name: sensor,", "twice", "{name: sensor, logicalType: boolean"),
    "a clock that is no column": ("value: sent_at", "value: nowhere", "`nowhere`", "customProperties"),
    "a clock that is no time": ("value: sent_at", "value: armed", "logicalType: timestamp", "{name: armed,"),
    "a clock that may be null": ("timestamp, required: true}", "timestamp}", "required: true", "{name: sent_at"),
    "a fraction in the key": (
        "{name: armed, logicalType: boolean}",
        "{name: armed, logicalType: number, primaryKey: true, primaryKeyPosition: 3}",
        "no one spelling",
        None,
    ),
    "key positions with a gap": (
        "primaryKeyPosition: 2",
        "primaryKeyPosition: 3",
        "primaryKeyPosition",
        "measured_at, l",
    ),
    "another kind": ("kind: DataContract", "kind: DataProduct", "DataProduct", "apiVersion"),
    "another standard": ("v3.1.0", "v2.2.0", "v2.2.0", None),
    "a version that is a number": ("version: 1.2.0", "version: 1.2", "version", None),
    "a key written twice": ("status: active", "status: active\nstatus: draft", "twice", "status: draft"),
    "a physical name": ("{name: armed,", "{name: armed, physicalName: ARMED,", "ARMED", None),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_executed_is_refused_at_its_line(case):
    old, new, said, where = BROKEN[case]
    assert old in SENSORS
    text = SENSORS.replace(old, new, 1)
    error = refused(text)
    assert said in error.message
    assert error.line == line_of(text, where or new.splitlines()[-1])
    assert error.message.startswith(f"sensors.odcs.yaml:{error.line}: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "not YAML"),
        ("- a", "mapping"),
        ("a: &x 1\nb: *x\n", "aliases"),
        ("", "mapping"),
        (SENSORS.replace("schema:\n", "schema:\n  - {name: other}\n"), "exactly one schema object, found 2"),
        (SENSORS.replace("      - {property: eventAt, value: measured_at}\n", ""), "eventAt"),
        (SENSORS.replace("primaryKey: true", "primaryKey: false"), "primaryKey"),
    ],
)
def test_a_file_that_is_no_contract_is_refused(text, said):
    assert said in refused(text).message


def test_an_event_at_column_may_be_called_so():
    contract = load(SENSORS.replace("measured_at", "event_at"))
    assert contract.event_at == "event_at"


def test_a_missing_known_at_means_the_arrival():
    text = SENSORS.replace("      - {property: knownAt, value: sent_at}\n", "")
    assert load(text).known_at is None
