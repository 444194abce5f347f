"""Rows in objects of every format: good ones, broken ones, duplicates, objects written over, objects that are none.

Seeded: the same seed lands the same bytes. Each object is entered into the ledger when the store has acknowledged it.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
from ledger import BROKEN, DUPLICATE, GOOD, Ledger, Row, Version, checksum

SOURCES = {"orders": ("parquet", "csv", "csv.gz", "jsonl", "jsonl.gz", "avro"), "returns": ("jsonl", "csv.gz")}
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
COLUMNS = ("uuid", "at", "sequence", "amount", "note", "checksum")
LONGEST_NOTE = 40
NOTES = ("plain", "", 'with "quotes", and commas', "ümläut ✓", "two\nlines", "back\\slash|bar")


@dataclass(frozen=True, slots=True)
class Record:
    """A row and the values in which it is written."""

    row: Row
    at: datetime
    amount: float | None
    note: str

    @property
    def values(self) -> dict:
        row = self.row
        return {
            "uuid": row.uuid,
            "at": self.at,
            "sequence": row.sequence,
            "amount": self.amount,
            "note": self.note,
            "checksum": row.checksum,
        }


class Producer:
    """Writes objects and remembers what it wrote.

    Parameters
    ----------
    put
        Stores bytes under a key and returns their ETag, once that is acknowledged.
    address
        Of a key, as a listing shows it.
    """

    def __init__(self, seed: int, ledger: Ledger, put, address) -> None:
        self._random = random.Random(seed)
        self._ledger, self._put, self._address = ledger, put, address
        self._sequence = self._objects = 0
        self._known: dict[str, list[Record]] = {source: [] for source in SOURCES}
        self._written: dict[tuple[str, str], list[Record]] = {}

    def land(self, rows: int = 12) -> None:
        """Land an object of each format for each source, some rows in it duplicates and some broken."""
        for source, formats in SOURCES.items():
            for format_ in formats:
                self.land_object(source, format_, rows)

    def land_object(self, source: str, format_: str, rows: int = 12) -> None:
        """Land one new object."""
        self._objects += 1
        self._write(source, self._key(format_), self.records(source, format_, rows))

    def write_over(self) -> None:
        """Write an object again, with its rows and some more: the same key, another ETag."""
        source, key = self._random.choice(sorted(self._written))
        format_ = key.split("/")[0]
        more = self.records(source, format_, self._random.randint(1, 5))
        self._write(source, key, [*self._written[source, key], *more])

    def land_unreadable(self, source: str = "orders") -> None:
        """Land an object that is no Parquet although its name says so."""
        self._objects += 1
        data = f"PAR1 but not really, number {self._objects}".encode()
        self._store(source, self._key("parquet"), data, (), readable=False)

    def _key(self, format_: str) -> str:
        return f"{format_.split('.', maxsplit=1)[0]}/{self._objects:05d}.{format_}"

    def _write(self, source: str, key: str, records: list[Record]) -> None:
        format_ = key.split(".", 1)[1]
        self._written[source, key] = records
        self._store(source, key, encoded(records, format_), tuple(r.row for r in records))

    def _store(self, source: str, key: str, data: bytes, rows: tuple[Row, ...], readable: bool = True) -> None:
        etag = self._put(f"{source}/{key}", data)
        self._ledger.acknowledge(Version(source, self._address(f"{source}/{key}"), etag, rows, readable))

    def records(self, source: str, format_: str, count: int) -> list[Record]:
        """Return new rows: good ones, broken ones as the format can be, and duplicates of what the source had."""
        made: list[Record] = []
        for _ in range(count):
            known = self._known[source]
            lot = self._random.random()
            if lot < 0.1 and known:
                # Of an object before, of this one, or of one that an earlier generation had.
                made.append(self._again(self._random.choice(known)))
                continue
            record = self._good()
            if lot < 0.2:
                made.append(self._broken(record, format_))
                continue
            known.append(record)
            made.append(record)
        return made

    def _good(self) -> Record:
        uuid = f"r-{self._random.getrandbits(128):032x}"
        # Microseconds in a text are optional, so whole seconds occur too.
        at = BEGIN + timedelta(days=self._random.randrange(3), microseconds=self._random.choice([0, 7, 250_000]))
        amount = self._random.randrange(100_000) / 100
        return self._stamped(Record(Row(uuid, 0, "", GOOD), at, amount, self._random.choice(NOTES)))

    def _again(self, record: Record) -> Record:
        return self._stamped(replace(record, row=replace(record.row, kind=DUPLICATE)))

    def _broken(self, record: Record, format_: str) -> Record:
        rules = ["required(amount)", "range(amount)", "length(note)"]
        rules += {"jsonl": ["malformed(json)"], "csv": ["malformed(columns)"]}.get(
            format_.split(".", maxsplit=1)[0], []
        )
        rule = self._random.choice(rules)
        broken = replace(record, row=replace(record.row, kind=BROKEN, rule=rule))
        match rule:
            case "required(amount)":
                broken = replace(broken, amount=None)
            case "range(amount)":
                broken = replace(broken, amount=-1.5)
            case "length(note)":
                broken = replace(broken, note="x" * (LONGEST_NOTE + 1))
        return replace(broken, row=self._sealed(broken))

    def _stamped(self, record: Record) -> Record:
        numbered = replace(record, row=replace(record.row, sequence=self._sequence))
        self._sequence += 1
        return replace(numbered, row=self._sealed(numbered))

    @staticmethod
    def _sealed(record: Record) -> Row:
        at_us = (record.at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        row = record.row
        return replace(row, checksum=checksum(row.uuid, at_us, row.sequence, record.amount, record.note))


def encoded(records: list[Record], format_: str) -> bytes:
    """Return the records as the bytes of one object, the broken ones broken."""
    kind, _, compression = format_.partition(".")
    data = {"parquet": _parquet, "csv": _csv, "jsonl": _jsonl, "avro": _avro}[kind](records)
    return gzip.compress(data, mtime=0) if compression else data


def _parquet(records: list[Record]) -> bytes:
    kinds = {"at": pa.timestamp("us", "UTC"), "sequence": pa.int64(), "amount": pa.float64()}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS])
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([r.values for r in records], schema), sink)
    return sink.getvalue()


def _csv(records: list[Record]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for record in records:
        values = {**record.values, "at": record.at.isoformat()}
        extra = ["one too many"] if record.row.rule == "malformed(columns)" else []
        # An empty field is null, which a note may be.
        writer.writerow([*(values[name] for name in COLUMNS), *extra])
    return text.getvalue().encode()


def _jsonl(records: list[Record]) -> bytes:
    lines = []
    for record in records:
        line = json.dumps({**record.values, "at": record.at.isoformat()})
        lines.append(line.removesuffix("}") if record.row.rule == "malformed(json)" else line)
    return "\n".join(lines).encode()


def _avro(records: list[Record]) -> bytes:
    kinds = {
        "at": {"type": "long", "logicalType": "timestamp-micros"},
        "sequence": "long",
        "amount": ["null", "double"],
    }
    fields = [{"name": name, "type": kinds.get(name, "string")} for name in COLUMNS]
    sink = io.BytesIO()
    schema = {"type": "record", "name": "row", "fields": fields}
    fastavro.writer(sink, schema, [r.values for r in records], sync_marker=b"raypipe-chaos-ok")
    return sink.getvalue()
