"""Rows of Avro come out as Parquet's do, and no damage to a file loses a row in silence."""

import bz2
import io
import json
import lzma
import zlib
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import fastavro
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.contracts.checks import check
from raypipe.contracts.contract import TIMESTAMP, Bound, Contract, Field
from raypipe.contracts.formats import Unreadable, read_rows
from raypipe.contracts.gate import observe
from raypipe.contracts.rows import ROW

MARK = bytes(range(200, 216))
CONTRACT = Contract(
    "readings",
    "1",
    (
        Field("sensor", pa.string(), required=True),
        Field("at", TIMESTAMP, required=True),
        Field("celsius", pa.float64(), maximum=Bound(100)),
        Field("retries", pa.int64()),
        Field("mounted_on", pa.date32()),
        Field("armed", pa.bool_()),
    ),
    ("sensor", "at"),
    "at",
)
READINGS = {
    "sensor": "string",
    "at": {"type": "long", "logicalType": "timestamp-micros"},
    "celsius": ["null", "double"],
    "retries": ["null", "int"],
    "mounted_on": ["null", {"type": "int", "logicalType": "date"}],
    "armed": ["null", "boolean"],
    "tags": {"type": "array", "items": "string"},
}
AT = datetime(2013, 1, 1, 10, 15, 0, 123456, UTC)
GOOD = {
    "sensor": "abc",
    "at": AT,
    "celsius": 20.5,
    "retries": 3,
    "mounted_on": date(2010, 5, 6),
    "armed": True,
    "tags": ["x"],
}
CODECS = {
    "null": lambda data: data,
    # As fastavro and the first Avro libraries do: three bytes of the checksum stay behind the stream.
    "deflate": lambda data: zlib.compress(data)[2:-1],
    "snappy": lambda data: pa.compress(data, codec="snappy", asbytes=True) + zlib.crc32(data).to_bytes(4, "big"),
    "zstandard": lambda data: pa.compress(data, codec="zstd", asbytes=True),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


def schema_of(fields):
    return {"type": "record", "name": "reading", "fields": [{"name": n, "type": t} for n, t in fields.items()]}


def encoded(schema, *values):
    sink = io.BytesIO()
    parsed = fastavro.parse_schema(schema)
    for value in values:
        fastavro.schemaless_writer(sink, parsed, value)
    return sink.getvalue()


def header(schema, codec="null"):
    meta = {"avro.schema": json.dumps(schema).encode(), "avro.codec": codec.encode()}
    return b"Obj\x01" + encoded({"type": "map", "values": "bytes"}, meta) + MARK


def block(content, count, codec="null"):
    return encoded("long", count) + encoded("bytes", CODECS[codec](content)) + MARK


def file_of(fields, *blocks, codec="null"):
    """Return a container file, and where each block begins."""
    data, starts = header(schema_of(fields), codec), []
    for rows in blocks:
        starts.append(len(data))
        data += block(encoded(schema_of(fields), *rows), len(rows), codec)
    return data, starts


def written(fields, rows):
    sink = io.BytesIO()
    fastavro.writer(sink, schema_of(fields), rows, sync_interval=200)
    return sink.getvalue()


def read(data):
    return read_rows(data, "avro", uri="s3://landing/x.avro")


def rows_of(raw):
    """Return position -> row, over all parts."""
    return {row.pop(ROW): row for part in raw.parts for row in part.frame.iter_rows(named=True)}


def malformed_of(raw):
    return [(r["row"], r["reason"]) for r in raw.malformed.to_pylist()]


def parquet_of(rows):
    sink = io.BytesIO()
    types = [
        ("sensor", pa.string()),
        ("at", pa.timestamp("us", "UTC")),
        ("celsius", pa.float64()),
        ("retries", pa.int32()),
        ("mounted_on", pa.date32()),
        ("armed", pa.bool_()),
        ("tags", pa.list_(pa.string())),
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(types)), sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [GOOD],
        [GOOD, GOOD | dict.fromkeys(["celsius", "retries", "mounted_on", "armed"])],
        [
            GOOD | {"celsius": 200.0},
            GOOD,
            GOOD | {"celsius": float("nan")},
            GOOD | {"at": datetime(1, 1, 1, tzinfo=UTC)},
        ],
    ],
    ids=["none", "one", "nulls", "refusals"],
)
def test_the_same_rows_are_checked_as_those_of_parquet(rows):
    avro, parquet = read(written(READINGS, rows)), read_rows(parquet_of(rows), "parquet")
    one, other = check(avro, CONTRACT), check(parquet, CONTRACT)
    assert one.accepted == other.accepted
    assert one.accepted_rows == other.accepted_rows
    assert one.refused["reasons"] == other.refused["reasons"]
    assert one.findings == other.findings
    assert observe(avro, one) == observe(parquet, other)


def test_a_nested_column_is_refused_where_the_contract_has_it_as_that_of_parquet_is():
    contract = Contract("readings", "1", (*CONTRACT.fields, Field("tags", pa.string())), ("sensor", "at"), "at")
    for raw in (read(written(READINGS, [GOOD])), read_rows(parquet_of([GOOD]), "parquet")):
        assert check(raw, contract).refused["reasons"].to_pylist() == [["type(tags)"]]


@pytest.mark.parametrize(
    "nested",
    [
        ({"type": "map", "values": "long"}, {"k": 1}),
        ({"type": "record", "name": "inner", "fields": [{"name": "x", "type": "bytes"}]}, {"x": b"\1"}),
        ({"type": "array", "items": {"type": "long", "logicalType": "timestamp-micros"}}, [2**62]),
    ],
    ids=["map", "record", "array"],
)
def test_what_cannot_be_a_column_is_kept_as_json_that_no_contract_takes_for_text(nested):
    schema, value = nested
    fields = {"a": ["null", schema], "b": "int"}
    raw_schema = json.loads(json.dumps(schema_of(fields)).replace(', "logicalType": "timestamp-micros"', ""))
    data = header(schema_of(fields)) + block(encoded(raw_schema, {"a": value, "b": 1}, {"a": None, "b": 2}), 2)
    frame = read(data).parts[0].frame
    assert frame.schema["a"] == pl.Binary
    assert frame["b"].to_list() == [1, 2]
    assert json.loads(frame["a"][0]) == json.loads(json.dumps(value, default=str))
    assert frame["a"][1] is None


MICROSECONDS = 1_357_035_300_123_456


@pytest.mark.parametrize(
    ("schema", "stored", "dtype", "value"),
    [
        ({"type": "long", "logicalType": "timestamp-millis"}, 1_357_035_300_123, pl.Datetime("ms", "UTC"), None),
        ({"type": "long", "logicalType": "timestamp-micros"}, MICROSECONDS, pl.Datetime("us", "UTC"), AT),
        ({"type": "long", "logicalType": "timestamp-nanos"}, MICROSECONDS * 1000 + 1, pl.Datetime("ns", "UTC"), None),
        ({"type": "long", "logicalType": "local-timestamp-millis"}, 1, pl.Datetime("ms"), None),
        ({"type": "long", "logicalType": "local-timestamp-micros"}, 1, pl.Datetime("us"), None),
        ({"type": "int", "logicalType": "date"}, -1, pl.Date, date(1969, 12, 31)),
        ({"type": "int", "logicalType": "time-millis"}, 1, pl.Time, None),
        ({"type": "long", "logicalType": "time-micros"}, 1, pl.Time, None),
        (
            {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 2},
            (-(10**38) + 1),
            pl.Decimal(38, 2),
            None,
        ),
        (
            {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2},
            -1234,
            pl.Decimal(38, 2),
            Decimal("-12.34"),
        ),
        ({"type": "string", "logicalType": "uuid"}, "any text", pl.String, "any text"),
        ({"type": "enum", "name": "e", "symbols": ["A", "B"]}, "B", pl.String, "B"),
        ({"type": "fixed", "name": "f", "size": 2}, b"\0\xff", pl.Binary, b"\0\xff"),
        ({"type": "long", "logicalType": "of-nobody"}, 5, pl.Int64, 5),
        ({"type": "bytes", "logicalType": "decimal", "precision": 50}, b"\5", pl.Binary, b"\5"),
        ({"type": "string", "avro.java.string": "String"}, "x", pl.String, "x"),
        ("float", 0.5, pl.Float32, 0.5),
        ("null", None, pl.Null, None),
    ],
)
def test_a_type_is_the_column_type_that_holds_it_exactly(schema, stored, dtype, value):
    if isinstance(stored, int) and isinstance(schema, dict) and schema.get("logicalType") == "decimal":
        stored = stored.to_bytes(17, "big", signed=True)
    bare = {k: v for k, v in schema.items() if k != "logicalType"} if isinstance(schema, dict) else schema
    fields = {"a": bare, "b": "int"}
    content = encoded(schema_of(fields), {"a": stored, "b": 1})
    raw = read(header(schema_of(fields | {"a": schema})) + block(content, 1))
    assert raw.malformed.num_rows == 0
    read_column = raw.parts[0].frame["a"]
    assert read_column.dtype == dtype
    if value is not None:
        assert read_column.to_list() == [value]
    elif isinstance(dtype, pl.Datetime):
        assert read_column.to_physical().to_list() == [stored]


def test_a_uuid_of_sixteen_bytes_is_its_text():
    value = UUID(int=7)
    fields = {"a": {"type": "fixed", "name": "u", "size": 16}}
    content = encoded(schema_of(fields), {"a": value.bytes})
    fields["a"] = fields["a"] | {"logicalType": "uuid"}
    assert rows_of(read(header(schema_of(fields)) + block(content, 1))) == {0: {"a": str(value)}}


@pytest.mark.parametrize(
    ("logical", "stored", "reasons"),
    [
        ("timestamp-micros", 1, []),
        ("timestamp-nanos", 1000, []),
        ("timestamp-nanos", 1001, [["type(at)"]]),
        ("timestamp-millis", 253_402_300_800_000, [["type(at)"]]),
        ("timestamp-micros", -(2**63), [["type(at)"]]),
        ("local-timestamp-micros", 1, [["type(at)"]]),
    ],
)
def test_a_time_is_never_rounded_nor_given_a_zone(logical, stored, reasons):
    fields = {"sensor": "string", "at": {"type": "long", "logicalType": logical}}
    content = encoded(schema_of(fields | {"at": "long"}), {"sensor": "a", "at": stored})
    checked = check(read(header(schema_of(fields)) + block(content, 1)), CONTRACT)
    assert checked.refused["reasons"].to_pylist() == reasons


def test_names_defined_once_are_used_in_other_fields_whatever_their_namespace():
    colour = {"type": "enum", "name": "Colour", "namespace": "a.b", "symbols": ["RED", "BLUE"]}
    schema = {
        "type": "record",
        "name": "a.b.Row",
        "fields": [
            {"name": "one", "type": ["null", colour], "default": "not even a default"},
            {"name": "two", "type": "Colour"},
            {"name": "three", "type": ["string", "a.b.Colour"]},
        ],
    }
    content = b"\x02\x00" + b"\x02" + b"\x02\x00" + b"\x00" + b"\x00" + b"\x00\x02x"
    raw = read(header(schema) + block(content, 2))
    assert rows_of(raw) == {
        0: {"one": "RED", "two": "BLUE", "three": "RED"},
        1: {"one": None, "two": "RED", "three": "x"},
    }


def test_a_record_that_two_fields_use_does_not_hold_itself():
    inner = {"type": "record", "name": "Inner", "fields": [{"name": "x", "type": "long"}]}
    fields = {"one": inner, "two": ["null", "Inner"]}
    rows = [{"one": {"x": 1}, "two": {"x": 2}}, {"one": {"x": 3}, "two": None}]
    found = rows_of(read(written(fields, rows)))
    assert found == {0: {"one": b'{"x":1}', "two": b'{"x":2}'}, 1: {"one": b'{"x":3}', "two": None}}


def test_a_union_of_several_types_loses_no_row_and_no_type():
    moment = {"type": "long", "logicalType": "timestamp-micros"}
    rows = [{"a": 12}, {"a": "12"}, {"a": None}, {"a": 1.5}]
    fields = {"a": ["null", "string", "long", "double"]}
    content = encoded(schema_of(fields), *rows)
    fields["a"][2] = moment
    raw = read(header(schema_of(fields)) + block(content, len(rows)))
    assert raw.num_rows == 4
    kinds = {row: p.frame.schema["a"] for p in raw.parts for row in p.frame[ROW]}
    assert kinds == {0: pl.Datetime("us", "UTC"), 1: pl.String, 2: pl.String, 3: pl.Float64}
    assert rows_of(raw)[2] == {"a": None}


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_of_the_specification_is_read(codec):
    data, _ = file_of({"a": "long"}, [{"a": 1}, {"a": 2}], [{"a": 3}], codec=codec)
    assert rows_of(read(data)) == {0: {"a": 1}, 1: {"a": 2}, 2: {"a": 3}}


def test_many_blocks_of_fastavro_itself_are_read_in_their_order():
    sink = io.BytesIO()
    fastavro.writer(sink, schema_of({"a": "long"}), [{"a": i} for i in range(25_000)], codec="deflate")
    assert [r["a"] for r in rows_of(read(sink.getvalue())).values()] == list(range(25_000))


def test_another_codec_is_named_with_those_that_are_read():
    with pytest.raises(Unreadable, match=r"x\.avro .* compressed with `lz4`, .* null, deflate, snappy, zstandard"):
        read(header(schema_of({"a": "long"}), "lz4"))


def test_a_header_alone_has_columns_and_no_rows():
    raw = read(header(schema_of({"a": "long", "b": ["null", "string", "int"]})))
    assert raw.num_rows == 0
    assert raw.parts[0].columns == ["a", "b"]


RECURSIVE = {"type": "record", "name": "R", "fields": [{"name": "next", "type": ["null", "R"]}]}


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "it begins with b'' instead of b'Obj"),
        (b"PAR1 no", "say in its feed which format it has"),
        (b"Obj\x01", "its header cannot be read"),
        (header(schema_of({"a": "long"}))[:-1], "its header cannot be read"),
        (header("long"), "write one record a row"),
        (header(schema_of({"a": "lung"})), "uses the type `lung`, which it does not define"),
        (header(schema_of({"a": None})), "has None in the place of a type"),
        (header(RECURSIVE), "`R` holds itself"),
        (header(schema_of({"a": "null"})), "no column of its rows can hold a value"),
        (header(schema_of({"\0row": "int"})), "cannot be told apart"),
        (header({"type": "record", "name": "r"}), "does not list the fields"),
        (
            header(schema_of({"a": {"type": "enum", "name": "e", "symbols": 5}})),
            "does not list the symbols of the enum `e`",
        ),
        (header(schema_of({"a": {"type": "fixed", "name": "e"}})), "does not say the size of the fixed type `e`"),
        (header(schema_of({"a": "long"})).replace(b"avro.schema", b"avro.schemo"), "has no 'avro.schema'"),
        (header(schema_of({"a": "long"})).replace(b'{"type"', b'{"type\xff'), "its header cannot be read"),
    ],
)
def test_what_cannot_be_opened_is_unreadable_and_says_why(data, sentence):
    with pytest.raises(Unreadable, match="s3://landing/x.avro is not Avro") as caught:
        read(data)
    assert sentence in str(caught.value)


ROWS = [[{"a": 10 * b + i, "t": "text"} for i in range(5)] for b in range(4)]
FIELDS = {"a": "long", "t": "string"}


def numbers(raw):
    return {row: values["a"] for row, values in rows_of(raw).items()}


@pytest.mark.parametrize("codec", ["deflate", "snappy", "zstandard", "bzip2", "xz"])
def test_every_row_of_a_block_that_cannot_be_decompressed_is_malformed_and_the_other_blocks_go_on(codec):
    data, starts = file_of(FIELDS, *ROWS, codec=codec)
    broken = bytearray(data)
    middle = (starts[1] + starts[2] - len(MARK)) // 2
    broken[middle : middle + 4] = bytes(b ^ 0xFF for b in broken[middle : middle + 4])
    raw = read(bytes(broken))
    assert malformed_of(raw) == [(row, "malformed(block)") for row in range(5, 10)]
    assert numbers(raw) == {i + 5 * b: 10 * b + i for b in (0, 2, 3) for i in range(5)}
    assert f"bytes {starts[1]} to {starts[2]}: " in raw.malformed["raw"][0].as_py()


@pytest.mark.parametrize(
    ("content", "count"),
    [
        (encoded(schema_of(FIELDS), *ROWS[1])[:-1], 5),
        (encoded(schema_of(FIELDS), *ROWS[1]) + b"\0", 5),
        (b"\0\x7f" * 5, 5),
    ],
    ids=["too few bytes", "too many bytes", "no text of that length"],
)
def test_a_block_that_is_not_its_rows_and_nothing_else_is_not_believed(content, count):
    data, _ = file_of(FIELDS, ROWS[0])
    rest, _ = file_of(FIELDS, ROWS[2])
    raw = read(data + block(content, count) + rest[len(header(schema_of(FIELDS))) :])
    assert malformed_of(raw) == [(row, "malformed(block)") for row in range(5, 10)]
    assert numbers(raw) == {**{i: i for i in range(5)}, **{10 + i: 20 + i for i in range(5)}}


def test_snappy_is_compared_with_its_checksum_and_never_allocates_what_cannot_be():
    rows = encoded(schema_of(FIELDS), *ROWS[1])
    packed = CODECS["snappy"](rows)
    other_text = CODECS["snappy"](rows.replace(b"text", b"tent"))
    vast = b"\xff\xff\xff\xff\xff\x7f" + packed[1:]
    for content, why in ((other_text[:-4] + packed[-4:], "the checksum is that of"), (vast, "bytes are said to be in")):
        stored = encoded("long", 5) + encoded("bytes", content) + MARK
        raw = read(header(schema_of(FIELDS), "snappy") + stored)
        assert malformed_of(raw) == [(row, "malformed(block)") for row in range(5)]
        assert why in raw.malformed["raw"][0].as_py()


def test_a_negative_count_of_nothing_is_one_entry():
    assert malformed_of(read(header(schema_of(FIELDS)) + block(b"", -1))) == [(0, "malformed(gap)")]


@pytest.mark.parametrize("count", [0, 2**40, 1_000, -5])
def test_a_count_that_cannot_be_is_one_entry(count):
    raw = read(header(schema_of(FIELDS)) + block(encoded(schema_of(FIELDS), *ROWS[1]), count))
    assert malformed_of(raw) == [(0, "malformed(gap)")]


def test_what_stands_where_a_block_should_be_is_one_entry_up_to_the_next_mark():
    data, starts = file_of(FIELDS, *ROWS)
    broken = bytearray(data)
    broken[starts[2] - len(MARK)] ^= 1
    raw = read(bytes(broken))
    assert malformed_of(raw) == [(5, "malformed(gap)")]
    assert numbers(raw) == {**{i: i for i in range(5)}, **{6 + i: 30 + i for i in range(5)}}
    assert "how many rows are lost is not known" in raw.malformed["raw"][0].as_py()


def test_a_file_cut_anywhere_keeps_its_whole_blocks_and_says_that_the_rest_is_gone():
    data, starts = file_of(FIELDS, *ROWS)
    for end in range(starts[0], len(data) + 1):
        raw = read(data[:end])
        whole = sum(start <= end for start in [*starts[1:], len(data)])
        assert len(numbers(raw)) == 5 * whole
        # Avro has nothing that says where a file ends: one cut between two blocks is whole.
        assert malformed_of(raw) == [(5 * whole, "malformed(gap)")] * (end not in (*starts, len(data)))


def test_damage_counts_in_the_share_of_refused_rows():
    data, starts = file_of({"sensor": "string", "at": "string"}, [{"sensor": "a", "at": "2013-01-01T00:00:00Z"}] * 3)
    raw = read(data + data[starts[0] : -20])
    evidence = observe(raw, check(raw, CONTRACT))
    assert (evidence.rows, evidence.dead_letters, evidence.by_reason) == (4, 1, (("malformed(gap)", 1),))


def test_a_row_whose_text_is_not_utf8_is_malformed_alone():
    content = encoded(schema_of(FIELDS), *ROWS[0]).replace(b"\x04\x08text", b"\x04\x08t\xffxt")
    raw = read(header(schema_of(FIELDS)) + block(content, 5))
    assert raw.malformed.to_pylist() == [
        {"row": 2, "raw": '{"a": 2, "t": "t\\udcffxt"}', "reason": "malformed(encoding)"}
    ]
    assert numbers(raw) == {0: 0, 1: 1, 3: 3, 4: 4}


@pytest.mark.parametrize(
    ("schema", "bare", "good", "bad"),
    [
        ("int", "long", 2**31 - 1, 2**31),
        ({"type": "int", "logicalType": "date"}, "long", 0, 2**32),
        ({"type": "long", "logicalType": "time-micros"}, "long", 86_399_999_999, 86_400_000_000),
        # In nanoseconds this would be 2^64 + 384, which 64 bits take for 384.
        ({"type": "long", "logicalType": "time-micros"}, "long", 0, (2**64 + 384) // 1000),
        ({"type": "bytes", "logicalType": "decimal", "precision": 2}, "bytes", b"\x63", b"\x64"),
    ],
)
def test_a_row_with_a_value_beyond_its_type_is_malformed_alone(schema, bare, good, bad):
    content = encoded(schema_of({"a": bare}), {"a": good}, {"a": bad}, {"a": good})
    raw = read(header(schema_of({"a": schema})) + block(content, 3))
    assert malformed_of(raw) == [(1, "malformed(value)")]
    assert list(rows_of(raw)) == [0, 2]


TYPED = {
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "double": st.floats(allow_nan=False),
    "string": st.text(),
    "bytes": st.binary(),
    "moment": st.datetimes(timezones=st.just(UTC)),
    "local": st.datetimes(),
    "day": st.dates(),
    "amount": st.decimals(-(10**20), 10**20, places=3),
    "kind": st.sampled_from(["A", "B"]),
}
NULLABLE = {
    **{n: ["null", n] for n in ("boolean", "int", "long", "double", "string", "bytes")},
    "moment": ["null", {"type": "long", "logicalType": "timestamp-micros"}],
    "local": ["null", {"type": "long", "logicalType": "local-timestamp-micros"}],
    "day": [{"type": "int", "logicalType": "date"}, "null"],
    "amount": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": 3}],
    "kind": ["null", {"type": "enum", "name": "k", "symbols": ["A", "B"]}],
}


@settings(deadline=None, max_examples=60)
@given(st.lists(st.fixed_dictionaries({n: st.none() | values for n, values in TYPED.items()}), max_size=20))
def test_rows_that_fastavro_wrote_come_back_equal(rows):
    raw = read(written(NULLABLE, rows))
    assert raw.malformed.num_rows == 0
    assert rows_of(raw) == dict(enumerate(rows))


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_whatever_is_damaged_the_object_is_read_or_unreadable_and_its_rows_are_numbered_once(data):
    whole, starts = file_of(
        NULLABLE, *[[dict.fromkeys(NULLABLE) | {"string": "text", "moment": AT + timedelta(i)}] for i in range(4)]
    )
    damaged = bytearray(whole)
    for at in data.draw(st.lists(st.integers(starts[0], len(whole) - 1), min_size=1, max_size=5)):
        damaged[at] = data.draw(st.integers(0, 255))
    raw = read(bytes(damaged))
    found = sorted([*rows_of(raw), *raw.malformed["row"].to_pylist()])
    assert found == list(range(raw.num_rows))
    assert raw.num_rows > 0
