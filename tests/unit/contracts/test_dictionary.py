"""A data dictionary says what the contracts say, the same each time, and nothing in it is markup."""

import re
from html.parser import HTMLParser
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from odcs_documents import documents

from raypipe.contracts.described import describe
from raypipe.contracts.dictionary import Source, dictionary, markdown_code, markdown_text

READINGS = """\
apiVersion: v3.1.0
kind: DataContract
id: readings
version: 1.2.0
status: active
domain: plant
team: {name: Plant <owners>, members: [{username: mia}]}
description: {purpose: Readings of a machine., usage: Alarms., limitations: Nights are missing.}
slaProperties:
  - {property: retention, value: 3, unit: y, element: readings.at}
  - {property: ly, value: 2, unit: h}
schema:
  - name: readings
    dataGranularityDescription: One reading
    customProperties: [{property: eventAt, value: at}]
    quality: [{type: text, description: one row a minute}]
    properties:
      - {name: sensor, logicalType: string, primaryKey: true, classification: restricted, examples: [a|b, "c`d"]}
      - {name: at, logicalType: timestamp, required: true, classification: public, businessName: Time}
      - {name: celsius, logicalType: number, logicalTypeOptions: {maximum: 2000}, description: "How <b>hot</b> | warm."}
      - {name: old, logicalType: boolean, deprecated: true}
"""
USES = {"celsius": ("view dock: warmth",)}


def page(kind, uses=None):
    return dictionary("Readings & more", [Source("readings", describe(READINGS, "readings.odcs.yaml"), uses)], kind)


class Text(HTMLParser):
    """The cells and facts of a page as a browser shows them."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.shown = [], set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, "every element is closed in order"

    def handle_data(self, data):
        if data.strip() and "style" not in self.open:
            self.shown.append(data.strip())


def shown(html):
    parser = Text()
    parser.feed(html)
    assert parser.open == []
    return parser


def test_html_shows_owner_key_clocks_and_agreements():
    text = shown(page("html")).shown
    # The first that follows: the headings of the table come after the facts.
    facts = dict(reversed(list(pairwise(text))))
    assert text.count("Readings & more") == 2
    assert facts["Owner"] == "Plant <owners>"
    assert (facts["Version"], facts["Status"], facts["Domain"]) == ("1.2.0", "active", "plant")
    assert (facts["Key"], facts["Happened at"], facts["Known at"]) == ("sensor", "at", "the arrival of its object")
    assert facts["Retention"] == "3 y (readings.at)"
    assert facts["Latency"] == "2 h"
    assert facts["Classification"] == "restricted: 1 column, public: 1 column, not classified: 2 columns"
    assert facts["Usage."] == "Alarms."
    assert "one row a minute" in text


def test_html_shows_a_row_for_each_column_and_escapes_what_it_says():
    parser = shown(page("html", USES))
    text = parser.shown
    assert text[text.index("celsius") :][:6] == [
        "celsius",
        "number",
        "no",
        "at most 2000",
        "How <b>hot</b> | warm.",
        "view dock: warmth",
    ]
    assert text[text.index("old") :][:2] == ["old", "deprecated"]
    assert "b" not in parser.tags
    assert {"script", "link", "img"}.isdisjoint(parser.tags), "the page needs no other file"


def test_uses_are_a_column_only_where_a_pipeline_was_asked():
    assert "Used by" in page("html", USES)
    assert "Used by" not in page("html")
    assert "| used by |" in page("md", USES)
    assert "used by" not in page("md")


def test_markdown_says_the_same_in_tables_that_hold():
    lines = page("md", USES).splitlines()
    assert lines[0] == "# Readings &amp; more"
    assert "| Owner | Plant &lt;owners&gt; |" in lines
    assert "*Usage.* Alarms." in lines
    assert "- one row a minute" in lines
    assert "| `sensor` (key) | string | yes |  | restricted |  | `a\\|b`, `` c`d `` |  |" in lines
    assert "| `at` (happened at) | timestamp | yes |  | public | Time. |  |  |" in lines
    said = "How &lt;b&gt;hot&lt;/b&gt; \\| warm."
    assert f"| `celsius` | number | no | at most 2000 |  | {said} |  | view dock: warmth |" in lines


@settings(max_examples=30)
@given(documents(), st.sampled_from([None, {"x": ("view | dock",)}]))
def test_whatever_a_contract_says_the_page_keeps_its_shape(text, uses):
    sources = [Source("readings", describe(text, "a contract"), uses)]
    shown(dictionary("Title", sources, "html"))
    written = dictionary("Title", sources, "md")
    bars = {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in written.split("\n") if line.startswith("| `")}
    assert bars <= {9 if uses else 8}
    assert written == dictionary("Title", sources, "md")


def test_text_that_looks_like_markdown_is_text():
    assert markdown_text("a\n| *b* <i> \\ [c](d)") == "a \\| \\*b\\* &lt;i&gt; \\\\ \\[c\\](d)"
    assert markdown_text("- a") == "\\- a"
    assert markdown_text("12. a") == "12\\. a"
    assert markdown_code("a`b``c") == "``` a`b``c ```"
    assert markdown_code("") == ""


def test_members_of_a_team_are_the_owners_where_it_has_no_name():
    team = "team: [{username: mia, role: owner}, {name: Jo}, {username: gone, dateOut: '2020-01-01'}]"
    written = re.sub(r"team: .*", team, READINGS)
    html = dictionary("t", [Source("readings", describe(written, "readings.odcs.yaml"))], "html")
    assert "<dd>mia (owner), Jo</dd>" in html
