"""Contracts of every shape, as text: what tests of several notations draw from."""

import tempfile
from pathlib import Path

import google.type.date_pb2
import grpc_tools
import yaml
from grpc_tools import protoc
from hypothesis import strategies as st

PATTERNS = ["^a", "b", "^[A-Z]{2}$", r"^\d+$", "(?i)ab", r"\p{L}+", "[[:alpha:]]", "a|b.", r"^\w+\.x$", "(?P<n>a)+"]
FORMATS = {"date": ["dd.MM.yyyy", "yyyy-MM-dd"], "timestamp": ["yyyy-MM-dd HH:mm", "yyyy-MM-dd'T'HH:mm:ss.SSSXXX"]}
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES = st.sampled_from(["x", "y", "air_time", "Größe", "a/b~c", "google", "message", "_"])
CODES = st.sampled_from(["a", "b", "ab", "a b", "AB", "north"])


def sometimes(**values):
    """Return a strategy of mappings that have some of the keys."""
    return st.fixed_dictionaries({}, optional=values)


def _ends(limit):
    def keys(low, high, low_key, high_key):
        return {low_key: min(low, high), high_key: max(low, high)}

    both = st.builds(
        keys,
        limit,
        limit,
        st.sampled_from(["minimum", "exclusiveMinimum"]),
        st.sampled_from(["maximum", "exclusiveMaximum"]),
    )
    return st.just({}) | both | limit.map(lambda v: {"minimum": v}) | limit.map(lambda v: {"exclusiveMaximum": v})


def _lengths(low, more):
    return {"minLength": low, "maxLength": low + more}


def _options(logical):
    match logical:
        case "string":
            lengths = st.just({}) | st.builds(_lengths, st.integers(0, 3), st.integers(0, 3))
            return st.builds(lambda a, b: {**a, **b}, lengths, sometimes(pattern=st.sampled_from(PATTERNS)))
        case "integer":
            steps = sometimes(multipleOf=st.sampled_from([1, 2]))
            return st.builds(lambda a, b: {**a, **b}, _ends(st.integers(-3, 3)), steps)
        case "number":
            ends = _ends(st.integers(-6, 6).map(lambda n: n / 2) | st.integers(-3, 3))
            return st.builds(lambda a, b: {**a, **b}, ends, sometimes(multipleOf=st.sampled_from([0.5, 1, 2.0])))
        case "date":
            days = st.integers(1, 9).map(lambda d: f"2020-01-0{d}")
            return st.builds(lambda a, b: {**a, **b}, _ends(days), sometimes(format=st.sampled_from(FORMATS["date"])))
        case "timestamp":
            moments = st.integers(1, 9).map(lambda d: f"2020-01-0{d}T00:00:00Z")
            form = sometimes(format=st.sampled_from(FORMATS["timestamp"])) | st.just({"timezone": False})
            return st.builds(lambda a, b: {**a, **b}, _ends(moments), form)
        case _:
            return st.just({})


RECORDED = {
    "description": WORDS,
    "businessName": WORDS,
    "classification": st.sampled_from(["public", "restricted"]),
    "tags": st.lists(WORDS, max_size=2),
    "examples": st.lists(WORDS | st.integers(-9, 9), min_size=1, max_size=2),
    "deprecated": st.booleans(),
    "required": st.booleans(),
    "customProperties": st.just([{"property": "unitOfMeasure", "value": "K"}]),
}
WARNED = {"metric": "nullValues", "mustBe": 0, "severity": "warning", "description": "often broken"}
REFUSED = {"type": "library", "metric": "nullValues", "mustBe": 0}
TOLD = {"type": "text", "description": "should look plausible"}


def _missing(logical):
    values = {"string": ["", "north", "n/a"], "integer": [-1, 2], "number": [-1, 1.5, None]}.get(logical)
    if values is None:
        return st.just([])
    rule = {"metric": "missingValues", "arguments": {"missingValues": values}, "mustBe": 0}
    return st.sampled_from([[], [rule], [{**rule, "severity": "warning"}], [{**rule, "unit": "percent", "mustBe": 7}]])


def _values(logical):
    if logical not in ("string", "integer"):
        return st.just({})
    value = CODES if logical == "string" else st.integers(-2, 2)
    entry = st.builds(lambda v, more: {"value": v, **more}, value, sometimes(label=WORDS))
    listed = st.lists(entry, min_size=1, max_size=3, unique_by=lambda e: e["value"])
    rule = listed.map(lambda es: {"metric": "invalidValues", "arguments": {"validValues": [e["value"] for e in es]}})
    return st.just({}) | listed.map(lambda e: {"enum": e}) | rule.map(lambda r: {"quality": [{**r, "mustBe": 0}]})


@st.composite
def _property(draw, name, rules=None):
    logical = draw(st.sampled_from(["string", "integer", "number", "boolean", "date", "timestamp"]))
    options = draw(_options(logical))
    values = draw(_values(logical))
    quality = [*values.get("quality", []), *draw(st.lists(st.sampled_from([WARNED, REFUSED, TOLD]), max_size=2))]
    quality += draw(_missing(logical))
    return {
        "name": name,
        "logicalType": logical,
        **draw(sometimes(**RECORDED)),
        **({"logicalTypeOptions": options} if options else {}),
        **{key: value for key, value in values.items() if key == "enum"},
        **({"quality": quality} if quality else {}),
    }


@st.composite
def documents(draw, names=NAMES):
    """Return the text of a contract that raypipe executes."""
    columns = [draw(_property(name)) for name in draw(st.lists(names, max_size=4, unique=True))]
    head = {
        **draw(sometimes(description=st.just({"purpose": "readings of a machine"}), domain=WORDS)),
        **draw(sometimes(slaProperties=st.just([{"property": "retention", "value": 3, "unit": "y"}]))),
        "version": draw(st.sampled_from(["1.0.0", "2"])),
    }
    schema = {
        "name": draw(st.sampled_from(["readings", "flight-schedules", "9.lives", "google"])),
        **draw(sometimes(description=WORDS, tags=st.lists(WORDS, max_size=2))),
    }
    return _text(head, schema, draw(st.permutations([SENSOR, AT, *columns])), known=draw(st.booleans()))


@st.composite
def pairs(draw):
    """Return the texts of two contracts that differ in some of their columns."""
    old = {name: draw(_property(name)) for name in ("x", "y", "z")}
    kept = draw(st.sets(st.sampled_from(list(old)), min_size=1))
    new = {name: keys if name in kept else draw(_property(name)) for name, keys in old.items()}
    looser = draw(st.sets(st.sampled_from(list(new))))
    new = {n: {k: v for k, v in keys.items() if k not in _RULES or n not in looser} for n, keys in new.items()}
    return tuple(
        _text({"version": "1"}, {"name": "readings"}, [SENSOR, AT, *columns.values()]) for columns in (old, new)
    )


SENSOR = {"name": "sensor", "logicalType": "string", "primaryKey": True}
AT = {"name": "at", "logicalType": "timestamp", "required": True}
_RULES = ("required", "quality", "logicalTypeOptions")


def _text(head, schema, properties, *, known=False):
    clocks = [{"property": "eventAt", "value": "at"}, *([{"property": "knownAt", "value": "at"}] if known else [])]
    document = {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": "readings",
        **head,
        "schema": [{**schema, "customProperties": clocks, "properties": properties}],
    }
    return yaml.dump(document, Dumper=_Dumper, allow_unicode=True, sort_keys=False)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data):
        return True


def descriptors(proto):
    """Return what Protobuf's compiler makes of the text of a `.proto` file."""
    include = [Path(grpc_tools.__file__).parent / "_proto", Path(google.type.date_pb2.__file__).parents[2]]
    with tempfile.TemporaryDirectory() as directory:
        file, out = Path(directory) / "of_a_test.proto", Path(directory) / "descriptors"
        file.write_text(proto)
        paths = [f"-I{directory}", *(f"-I{i}" for i in include)]
        options = ["--include_source_info", "--include_imports", f"--descriptor_set_out={out}"]
        assert protoc.main(["protoc", *paths, *options, file.name]) == 0, proto
        return out.read_bytes()
