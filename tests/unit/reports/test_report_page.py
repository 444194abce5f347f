"""The report of a generation: one value, whose JSON keeps its schema and whose page says the same."""

import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import jsonschema
import pyarrow as pa
import pytest

from raypipe.contracts.contract import TIMESTAMP, Contract, Field
from raypipe.contracts.gate import GateEvidence
from raypipe.contracts.generation import Generation
from raypipe.contracts.generation_profile import ColumnCounts, ColumnSummary
from raypipe.contracts.letter_sample import LetterSample, SampledLetter
from raypipe.reports.ingest import IngestReport, ingest_report
from raypipe.reports.page import page
from raypipe.verdict import Finding, Status, worst

ATTACK = "<script>alert('x')</script>"
CONTRACT = Contract(
    "rides",
    "1.2.0",
    (
        Field("city", pa.string(), classification="public"),
        Field("name", pa.string()),
        Field("km", pa.float64(), classification="public"),
        Field("at", TIMESTAMP, classification="public"),
    ),
    ("city",),
    "at",
)
COLUMNS = {
    "city": ColumnSummary(ColumnCounts(95, 5, categories=((ATTACK, 60), ("Oslo", 30)))),
    "name": ColumnSummary(ColumnCounts(95, 0, categories=(("Ann", 95),))),
    "km": ColumnSummary(
        ColumnCounts(95, 0, 0.0, 20.0, None), tuple(float(n) for n in range(21)), tuple(n % 7 for n in range(24))
    ),
    "at": ColumnSummary(
        ColumnCounts(95, 0, 0.0, 86400.0, None), tuple(n * 4320.0 for n in range(21)), tuple(range(24))
    ),
}
COUNTS = GateEvidence(
    objects=2, rows=100, accepted=90, dead_letters=5, duplicates=5, by_reason=(("malformed(json)", 1), ("range(km)", 4))
)


def generation(number=7, counts=COUNTS, columns=COLUMNS):
    return Generation(number, datetime(2020, 1, number, tzinfo=UTC), Status.PASSED, counts, {}, columns)


def report(status=Status.QUARANTINED, before=(), columns=COLUMNS):
    letters = (
        SampledLetter("malformed(json)", "1", "a#4", '{"name": "Ann', 13),
        SampledLetter("range(km)", "2", "a#9", json.dumps({"city": ATTACK, "name": "Ann", "km": -1}), 60),
    )
    verdict = worst([Finding("dead_letter_rate", status, "5 % were refused"), Finding("ok", Status.PASSED, "fine")])
    return ingest_report("rides", CONTRACT, generation(columns=columns), verdict, LetterSample(letters), before)


class Reader(HTMLParser):
    """What a browser would make of a page: its tags, attributes and text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [v for k, v in attributes if k in ("src", "href") or (k.startswith("on"))]

    def handle_data(self, data):
        self.text.append(data)


def words(text):
    return re.sub(r"\s+", " ", " ".join(Reader(text).text))


def test_the_json_keeps_the_schema_and_reads_back_as_the_same_report():
    made = report(before=[generation(6)])
    text = made.model_dump_json()
    jsonschema.validate(json.loads(text), IngestReport.model_json_schema(mode="serialization"))
    assert IngestReport.model_validate_json(text) == made


def test_a_payload_in_a_dead_letter_or_in_a_category_is_text_and_nothing_is_loaded():
    text = page(report())
    read = Reader(text)
    assert "script" not in read.tags
    assert read.links == []
    assert ATTACK in words(text)
    assert "url(" not in text
    assert "@import" not in text


def test_what_is_not_public_is_on_neither():
    made = report()
    for text in (page(made), made.model_dump_json()):
        assert "Ann" not in text
    assert made.reasons[0].letters[0].values == {"city": json.dumps(ATTACK), "name": "text of 3 characters", "km": "-1"}
    assert made.reasons[1].letters[0].values is None


def test_the_page_says_the_verdict_in_words_and_the_counts_that_add_up():
    text = words(page(report()))
    assert "QUARANTINED Bad rows were set aside, the others are in the lake." in text
    assert "100 rows in 90 = accepted 5 + dead letters 5 + duplicates 2 in objects" in text
    assert "range(km) : 4" in text
    assert "0 to 20, half are at most 10" in text
    assert "1970-01-01 00:00 to 1970-01-02 00:00" in text
    assert "the contract does not classify this column as public" in text


@pytest.mark.parametrize("status", [Status.HALTED, Status.INSUFFICIENT, Status.PASSED])
def test_only_what_is_not_halted_is_committed(status):
    made = report(status)
    assert made.committed == (status is not Status.HALTED)
    assert made.findings[0].status is (Status.PASSED if status is Status.PASSED else status)
    said = "= would be accepted" in words(page(made))
    assert said == (status is Status.HALTED)


def test_history_ends_with_this_generation_and_draws_each_column_that_has_had_nulls():
    earlier = generation(6, GateEvidence(rows=10, accepted=10), {"city": ColumnSummary(ColumnCounts(10, 1))})
    made = report(before=[earlier])
    assert [(g.generation, g.rows, g.null_rates.get("city")) for g in made.history] == [(6, 10, 0.1), (7, 100, 5 / 95)]
    text = words(page(made))
    assert "nulls of city: 5.26 %" in text
    assert "nulls of name" not in text


def test_a_generation_without_a_row_has_a_page():
    made = report(Status.INSUFFICIENT, columns={})
    assert "There was nothing to judge." in words(page(made))
