"""A change of a contract is judged for who reads what: by laws, by rows, by JSON Schema itself, and by a table."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import jsonschema
import pyarrow as pa
import pytest
from deltalake import Schema
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from raypipe.contracts.checks import check
from raypipe.contracts.comparison import Comparison, Operator
from raypipe.contracts.contract import TIMESTAMP, Bound, Contract, Expression, Field, RowRules
from raypipe.contracts.evolution import Mode, against, changes, compatible
from raypipe.contracts.readers import Rules
from raypipe.contracts.table_rules import RowCount, table_rule
from raypipe.contracts.times import ISO_TIMESTAMP_WITHOUT_ZONE, time_text

AT = Field("at", TIMESTAMP, required=True)
SENT = Field("sent", TIMESTAMP, required=True)
SENSOR = Field("sensor", pa.string(), required=True)


def contract(*fields, name="readings", key=("sensor", "at"), event_at="at", known_at=None, **rules):
    return Contract(name, "1", (SENSOR, AT, SENT, *fields), key, event_at, known_at, **rules)


def string(**rules):
    return contract(Field("x", pa.string(), **rules))


def integer(**rules):
    return contract(Field("x", pa.int64(), **rules))


def typed(dtype):
    return contract(Field("x", dtype))


def timestamp(text):
    return contract(Field("x", TIMESTAMP, text=text))


PLAIN = contract()
LATE = Expression("sql(late)", "sent >= at", True, "error")
FEW = table_rule(RowCount(), Comparison(Operator.LESS, (9,)))
CASES = {
    "an optional column is added": (PLAIN, string()),
    "a required column is added": (PLAIN, string(required=True)),
    "an optional column is removed": (string(), PLAIN),
    "a required column is removed": (string(required=True), PLAIN),
    "columns change their order": (
        contract(Field("x", pa.string()), Field("y", pa.string())),
        contract(Field("y", pa.string()), Field("x", pa.string())),
    ),
    "integer becomes number": (typed(pa.int64()), typed(pa.float64())),
    "number becomes integer": (typed(pa.float64()), typed(pa.int64())),
    "integer becomes boolean, or the reverse": (typed(pa.int64()), typed(pa.bool_())),
    "date or timestamp becomes string": (typed(pa.date32()), typed(pa.string())),
    "string becomes date or timestamp": (typed(pa.string()), typed(TIMESTAMP)),
    "any other change of type": (typed(TIMESTAMP), typed(pa.int64())),
    "`required` is added": (string(), string(required=True)),
    "`required` is removed": (string(required=True), string()),
    "valid values of a string are added to": (string(valid_values=("a",)), string(valid_values=("a", "b"))),
    "valid values of a string are taken away": (string(valid_values=("a", "b")), string(valid_values=("a",))),
    "a string gets valid values": (string(), string(valid_values=("a",))),
    "valid values of an integer are added to": (integer(valid_values=(1,)), integer(valid_values=(1, 2))),
    "a range of numbers gets wider": (integer(maximum=Bound(1)), integer(maximum=Bound(2))),
    "a range of numbers gets narrower": (integer(maximum=Bound(2)), integer(maximum=Bound(1))),
    "a range of times gets narrower": (
        typed(pa.date32()),
        contract(Field("x", pa.date32(), minimum=Bound(date(2020, 1, 1)))),
    ),
    "numbers must be multiples, or of a longer step": (integer(multiple_of=2), integer(multiple_of=4)),
    "numbers need no longer be multiples": (integer(multiple_of=2), integer()),
    "a longest text gets longer, or a shortest shorter": (string(max_length=1), string(max_length=2)),
    "a longest text gets shorter, or a shortest longer": (string(min_length=1), string(min_length=2)),
    "a pattern is removed": (string(pattern="^a"), string()),
    "a pattern is added": (string(), string(pattern="^a")),
    "a pattern becomes another": (string(pattern="^a"), string(pattern="^a|b")),
    "values that stand for none are added to": (string(missing_values=("a",)), string(missing_values=("a", "b"))),
    "values that stand for none are taken away": (string(missing_values=("a", "b")), string(missing_values=("a",))),
    "an SQL rule on rows is added": (PLAIN, contract(expressions=(LATE,))),
    "an SQL rule on rows is removed": (contract(expressions=(LATE,)), PLAIN),
    "the text form of a time becomes another": (timestamp(None), timestamp(ISO_TIMESTAMP_WITHOUT_ZONE)),
    "the primary key becomes another, or its order": (PLAIN, contract(key=("at", "sensor"))),
    "`eventAt` or `knownAt` becomes another": (PLAIN, contract(known_at="sent")),
    "the schema object gets another name": (PLAIN, contract(name="measurements")),
    "a rule on the table is changed": (PLAIN, contract(table_rules=(FEW,))),
    "a rule of severity `warning` is changed": (string(), string(warned=RowRules(required=True))),
}


def verdict(old, new, rules):
    reads = tuple(compatible([old], new, mode, rules) for mode in (Mode.BACKWARD, Mode.FORWARD))
    return {
        (True, True): "compatible",
        (True, False): "backward",
        (False, True): "forward",
        (False, False): "breaking",
    }[reads]


def test_the_documentation_shows_who_is_broken_by_what():
    rows = [f"| {case} | {' | '.join(verdict(old, new, r) for r in Rules)} |" for case, (old, new) in CASES.items()]
    table = "\n".join([f"| change | {' | '.join(f'`{r}`' for r in Rules)} |", "|---|---|---|---|---|", *rows])
    assert table in Path("docs/contracts.md").read_text(), table


@pytest.mark.parametrize("case", CASES)
def test_a_case_of_the_documentation_is_one_change(case):
    old, new = CASES[case]
    assert len(changes(old, new)) == 1


SMALL = st.integers(0, 3)
PATTERNS = st.sampled_from([None, None, "^a", "b"])
TEXTS = st.sampled_from([None, ISO_TIMESTAMP_WITHOUT_ZONE, time_text("yyyy-MM-dd HH:mm", clock=True)])


def maybe(strategy):
    return st.none() | strategy


def values_of(strategy):
    return maybe(st.lists(strategy, min_size=1, max_size=3, unique=True).map(tuple))


def ranges(limit):
    bound = maybe(st.builds(Bound, limit, st.booleans()))
    return {"minimum": bound, "maximum": bound}


WORDS = st.sampled_from(["a", "b", "ab", "a b"])
WARNED = st.builds(RowRules, required=st.booleans(), valid_values=values_of(WORDS), missing_values=values_of(WORDS))
STRING = {
    "min_length": maybe(SMALL),
    "max_length": maybe(SMALL),
    "pattern": PATTERNS,
    "valid_values": values_of(WORDS),
    "missing_values": values_of(WORDS),
    "warned": WARNED,
}
RULES = {
    pa.string(): STRING,
    pa.int64(): {**ranges(SMALL), "valid_values": values_of(SMALL), "multiple_of": maybe(st.integers(1, 4))},
    pa.float64(): ranges(SMALL.map(float)),
    pa.bool_(): {},
    pa.date32(): {**ranges(SMALL.map(lambda d: date(2020, 1, 1 + d))), "text": st.none()},
    TIMESTAMP: {"text": TEXTS},
}
VALUES = {
    pa.string(): st.sampled_from(["", "a", "b", "ab", "a b", "abab"]),
    pa.int64(): st.integers(-1, 4),
    pa.float64(): st.integers(-2, 8).map(lambda n: n / 2),
    pa.bool_(): st.booleans(),
    pa.date32(): st.integers(1, 6).map(lambda d: date(2020, 1, d)),
}


def fields(name, types=tuple(RULES)):
    def of(dtype):
        return st.builds(Field, st.just(name), st.just(dtype), required=st.booleans(), **RULES[dtype])

    return st.sampled_from(types).flatmap(of)


@st.composite
def contracts(draw):
    columns = [draw(fields(name)) for name in "xyz" if draw(st.booleans())]
    return contract(
        *draw(st.permutations(columns)),
        name=draw(st.sampled_from(["readings", "others"])),
        key=draw(st.sampled_from([("sensor",), ("sensor", "at"), ("at", "sensor")])),
        event_at=draw(st.sampled_from(["at", "sent"])),
        known_at=draw(st.sampled_from([None, "sent"])),
        expressions=draw(st.sampled_from([(), (LATE,), (replace(LATE, severity="warning"),)])),
        table_rules=draw(st.sampled_from([(), (FEW,), (replace(FEW, name="other"),), (replace(FEW, unit="x"), FEW)])),
    )


RULE_SETS = st.sampled_from(Rules)


@given(contracts(), st.sampled_from(Mode), RULE_SETS)
def test_a_contract_is_compatible_with_itself(one, mode, rules):
    assert changes(one, replace(one, version="2")) == ()
    assert compatible([one, one], one, mode, rules)


@given(contracts(), contracts(), RULE_SETS)
def test_backward_is_forward_seen_from_the_other_side(old, new, rules):
    assert compatible([old], new, Mode.BACKWARD, rules) == compatible([new], old, Mode.FORWARD, rules)
    mirrored = {(c.path, c.new, c.old, c.forward, c.backward) for c in changes(new, old)}
    assert {(c.path, c.old, c.new, c.backward, c.forward) for c in changes(old, new)} == mirrored


@given(st.lists(contracts(), min_size=1, max_size=3), contracts(), RULE_SETS)
def test_full_is_both(history, new, rules):
    for end in ("", "_TRANSITIVE"):
        both = [compatible(history, new, Mode(f"{side}{end}"), rules) for side in ("BACKWARD", "FORWARD")]
        assert compatible(history, new, Mode(f"FULL{end}"), rules) == all(both)


@given(st.lists(contracts(), min_size=1, max_size=3), contracts(), RULE_SETS)
def test_transitive_is_compatible_with_each(history, new, rules):
    for mode in (Mode.BACKWARD, Mode.FORWARD, Mode.FULL):
        each = [compatible([old], new, mode, rules) for old in history]
        assert compatible(history, new, mode, rules) == each[-1]
        assert compatible(history, new, Mode(f"{mode}_TRANSITIVE"), rules) == all(each)


@given(contracts(), contracts())
def test_the_lake_is_broken_by_every_change_that_its_table_refuses(old, new):
    columns = [c for c in changes(old, new) if c.path in "xyz" or c.path.endswith(".logicalType")]
    refused = Schema.from_arrow(old.schema) != Schema.from_arrow(new.schema)
    assert any(Rules.LAKE not in c.backward | c.forward for c in columns) == refused


CHANGEABLE = [
    "required",
    "minimum",
    "maximum",
    "min_length",
    "max_length",
    "pattern",
    "valid_values",
    "missing_values",
    "multiple_of",
    "warned",
]


@st.composite
def pairs(draw):
    """Return two columns that differ in a few rules, so that many pairs are compatible."""
    one = draw(fields("x", tuple(VALUES)))
    other = draw(fields("x", (one.type,)))
    taken = draw(st.sets(st.sampled_from(CHANGEABLE)))
    return one, replace(one, **{name: getattr(other, name) for name in taken})


@given(st.tuples(contracts(), contracts()) | pairs().map(lambda pair: (contract(pair[0]), contract(pair[1]))))
def test_contracts_without_a_change_are_those_of_one_digest(pair):
    old, new = pair
    assert (changes(old, new) == ()) == (old.digest == new.digest)


def accepted(rows, column):
    return check(rows, contract(column)).accepted


@settings(deadline=None)
@given(pairs(), st.data())
def test_who_reads_by_the_rules_of_the_lake_refuses_no_row_of_the_writer(pair, data):
    writer, reader = pair
    assume(compatible([contract(writer)], contract(reader), Mode.BACKWARD, Rules.LAKE))
    values = data.draw(st.lists(maybe(VALUES[writer.type]), min_size=1, max_size=8))
    every = {"sensor": ["a"] * len(values), "at": [0] * len(values), "sent": [0] * len(values), "x": values}
    written = accepted(pa.table(every, schema=contract(writer).schema), writer)
    assert accepted(written, reader) == written


BOUNDS = maybe(st.builds(Bound, SMALL, st.booleans()))


@pytest.mark.parametrize("end", ["minimum", "maximum"])
@pytest.mark.parametrize(("dtype", "step"), [(pa.int64(), 1), (pa.float64(), 0.5)])
@given(BOUNDS, BOUNDS)
def test_a_range_breaks_exactly_when_it_leaves_a_number_out(end, dtype, step, was, now):
    def inside(bound, value):
        if bound is None:
            return True
        more = value - bound.value if end == "minimum" else bound.value - value
        return more > 0 if bound.exclusive else more >= 0

    old, new = (contract(Field("x", dtype, **{end: bound})) for bound in (was, now))
    reads = all(inside(now, n * step) for n in range(-4, 16) if inside(was, n * step))
    assert compatible([old], new, Mode.BACKWARD, Rules.LAKE) == reads


LENGTHS = st.tuples(maybe(SMALL), maybe(SMALL))


@given(LENGTHS, LENGTHS)
def test_a_length_breaks_exactly_when_an_end_of_it_does(was, now):
    kept = (now[0] or 0) <= (was[0] or 0) and (now[1] is None or (was[1] is not None and was[1] <= now[1]))
    old, new = (string(min_length=least, max_length=most) for least, most in (was, now))
    for rules in (Rules.LAKE, Rules.JSON_SCHEMA):
        assert compatible([old], new, Mode.BACKWARD, rules) == kept


def as_json_schema(column):
    """Return the JSON Schema that the contract of this column stands for."""
    kinds = {pa.string(): "string", pa.int64(): "integer", pa.float64(): "number", pa.bool_(): "boolean"}
    said = {"type": kinds.get(column.type, "string")}
    if column.type == pa.date32():
        said["pattern"] = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
    else:
        for end in ("minimum", "maximum"):
            if (bound := getattr(column, end)) is not None:
                said[f"exclusive{end.capitalize()}" if bound.exclusive else end] = bound.value
    stated = {"minLength": column.min_length, "maxLength": column.max_length, "pattern": column.pattern}
    stated["multipleOf"] = column.multiple_of
    said |= {key: value for key, value in stated.items() if value is not None}
    if column.valid_values is not None:
        said["enum"] = list(column.valid_values)
    if column.missing_values is not None:
        said["not"] = {"enum": list(column.missing_values)}
    either = said if column.required else {"anyOf": [{"type": "null"}, said]}
    return {"type": "object", "properties": {"x": either}, "required": ["x"] if column.required else []}


def written_as(value):
    return value.isoformat() if isinstance(value, date) else value


@settings(deadline=None)
@given(pairs() | st.tuples(fields("x", tuple(VALUES)), fields("x", tuple(VALUES))), st.data())
def test_who_reads_by_json_schema_finds_what_the_writer_wrote_valid(pair, data):
    writer, reader = pair
    assume(compatible([contract(writer)], contract(reader), Mode.BACKWARD, Rules.JSON_SCHEMA))
    row = data.draw(st.just({}) | maybe(VALUES[writer.type]).map(lambda v: {"x": written_as(v)}))
    validator = jsonschema.Draft202012Validator
    if validator(as_json_schema(writer)).is_valid(row):
        assert validator(as_json_schema(reader)).is_valid(row)


def test_a_change_says_what_changed_in_words():
    old = contract(Field("celsius", pa.float64(), maximum=Bound(2000)), known_at="sent")
    new = contract(Field("celsius", pa.float64(), maximum=Bound(100, exclusive=True), required=True))
    said = [(c.path, c.old, c.new) for c in changes(old, new)]
    assert said == [
        ("knownAt", "sent", "the arrival"),
        ("celsius.required", "false", "true"),
        ("celsius.maximum", "2000", "100 (excluded)"),
    ]


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (RowRules(required=True), "warning: required"),
        (RowRules(pattern="^a"), "warning: pattern ^a"),
        (RowRules(required=True, valid_values=("a", "b")), "warning: required; valid values a, b"),
        (RowRules(missing_values=("N/A",)), "warning: missing values N/A"),
    ],
)
def test_a_warning_that_comes_or_goes_is_a_change_that_breaks_nobody(rules, said):
    (change,) = changes(string(), string(warned=rules))
    assert (change.path, change.old, change.new) == ("x.quality", "none", said)
    assert change.backward == change.forward == frozenset(Rules)


def test_transitive_remembers_what_the_last_contract_has_forgotten():
    wide, narrow, between = (integer(maximum=Bound(n)) for n in (10, 5, 8))
    assert compatible([wide, narrow], between, Mode.BACKWARD, Rules.LAKE)
    assert not compatible([wide, narrow], between, Mode.BACKWARD_TRANSITIVE, Rules.LAKE)
    assert against([wide, narrow], Mode.FULL) == (narrow,)
    assert against([wide, narrow], Mode.FULL_TRANSITIVE) == (wide, narrow)


def test_the_first_contract_breaks_nobody():
    for mode in Mode:
        assert compatible([], PLAIN, mode, Rules.LAKE)


def test_an_avro_enum_needs_names():
    old, new = string(valid_values=("a", "a b")), string(valid_values=("a",))
    assert verdict(string(), old, Rules.AVRO) == "compatible", "no enum can have the symbol `a b`: it is a string"
    assert verdict(old, new, Rules.AVRO) == "breaking", "a string became an enum"


def test_the_same_text_form_in_other_words_breaks_nobody():
    stated = contract(Field("x", pa.date32(), text=time_text("yyyy-MM-dd", clock=False)))
    (change,) = changes(typed(pa.date32()), stated)
    assert change.path == "x.format"
    assert not change.breaks(Mode.FULL, Rules.LAKE)


def test_the_rules_of_a_column_are_those_that_refuse_rows():
    column = Field(
        "x", pa.string(), required=True, min_length=2, pattern="^a", valid_values=("ab",), warned=RowRules(pattern="b")
    )
    number = Field("n", pa.int64(), maximum=Bound(1))
    table = pa.table({"sensor": ["s"] * 2, "at": [0, 0], "sent": [0, 0], "x": ["b", None], "n": [2, 2]})
    refused = check(table.cast(contract(column, number).schema), contract(column, number)).refused
    reasons = {r for row in refused["reasons"].to_pylist() for r in row}
    assert reasons == {*(f"{r}(x)" for r in column.rules), *(f"{r}(n)" for r in number.rules)}
    assert column.warned.rules == ("pattern",)
