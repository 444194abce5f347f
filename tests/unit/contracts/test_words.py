"""The rules of a contract read like sentences, also those that raypipe does not know."""

import pytest

from raypipe.contracts.words import rules_in_words, table_rules_in_words


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({}, ()),
        ({"logicalTypeOptions": {"exclusiveMinimum": 0, "maximum": 9}}, ("above 0", "at most 9")),
        ({"logicalTypeOptions": {"minLength": 2}}, ("at least 2 characters",)),
        ({"logicalTypeOptions": {"maxLength": 2}}, ("at most 2 characters",)),
        ({"logicalTypeOptions": {"minLength": 2, "maxLength": 2}}, ("2 characters",)),
        ({"logicalTypeOptions": {"minLength": 0, "maxLength": 2}}, ("0 to 2 characters",)),
        ({"logicalTypeOptions": {"pattern": "^a|b{2}$"}}, ("matches ^a|b{2}$",)),
        ({"logicalTypeOptions": {"format": "dd.MM.yyyy", "timezone": False}}, ("written as dd.MM.yyyy",)),
        ({"logicalTypeOptions": {"timezone": False}}, ("written without a zone, in UTC",)),
        ({"enum": [{"value": "EWR", "label": "Newark"}, {"value": "JFK"}]}, ("one of EWR (Newark), JFK",)),
        ({"quality": [{"type": "text", "description": "plausible"}]}, ("plausible",)),
        (
            {"quality": [{"metric": "nullValues", "mustBeLessThan": 5, "unit": "percent", "severity": "warning"}]},
            ("rows without a value must be below 5 %, else a warning",),
        ),
        (
            {
                "quality": [
                    {"metric": "invalidValues", "arguments": {"validValues": ["a", "b"]}, "mustBeBetween": [0, 2]}
                ]
            },
            ("rows with a value that is not valid (validValues a, b) must be between 0 and 2",),
        ),
        (
            {"quality": [{"type": "sql", "query": "SELECT 1", "mustBeGreaterOrEqualTo": 1}]},
            ("SELECT 1 must be at least 1",),
        ),
        ({"quality": [{"metric": "novelty", "mustBe": 0}]}, ("novelty must be 0",)),
        ({"quality": [{"type": "sql", "query": "a < b", "mustBe": True}]}, ("a < b must be true",)),
        ({"relationships": [{"to": "airports.code"}]}, ("refers to airports.code",)),
    ],
)
def test_a_rule_of_a_column_has_words(stated, said):
    assert rules_in_words(stated) == said


def test_rules_of_all_rows_have_words():
    schema = {
        "quality": [{"metric": "rowCount", "mustBeGreaterThan": 100}],
        "relationships": [{"from": ["r.a", "r.b"], "to": ["s.a", "s.b"]}],
    }
    assert table_rules_in_words(schema) == ("rows must be above 100", "r.a, r.b refers to s.a, s.b")
