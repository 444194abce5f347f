"""What the user's file says about one source of events. Does not know how objects are read."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from raypipe.contracts.history_spec import HistorySpec
from raypipe.spec import Duration, Spec

MessageFormat = Literal["json", "avro", "protobuf"]


class ObjectFeed(Spec):
    """Objects under a prefix of the store, or files below a directory."""

    kind: Literal["objects"]
    uri: str
    """Prefix such as `s3://landing/flights/`, or a directory."""
    format: Literal["parquet", "csv", "jsonl", "avro"]


class KafkaFeed(Spec):
    """Messages of a Kafka topic, read by `raypipe stream`."""

    model_config = ConfigDict(populate_by_name=True)

    kind: Literal["kafka"]
    topic: str = Field(pattern=r"^[a-zA-Z0-9._-]{1,249}$")
    format: MessageFormat
    """What the value of each message is: one JSON object, one Avro datum, or one Protobuf message."""
    brokers: str | None = None
    """`host:port,host:port`; none means those of the environment file."""
    schema_: str | None = Field(default=None, alias="schema")
    """File beside the pipeline file: an Avro schema (.avsc), a .proto file, or a compiled descriptor set."""
    message: str | None = None
    """Full name of the Protobuf message, such as `flights.Arrival`."""
    schema_id: int | None = Field(default=None, ge=0)
    """Id of `schema` in a schema registry: each value then begins with a zero byte and this id, others are refused."""

    @model_validator(mode="after")
    def _schema_fits(self) -> KafkaFeed:
        _check_schema(self.format, self.schema_, self.message)
        return self


class KinesisFeed(Spec):
    """Records of a Kinesis data stream, read by `raypipe stream`."""

    model_config = ConfigDict(populate_by_name=True)

    kind: Literal["kinesis"]
    stream: str = Field(pattern=r"^[a-zA-Z0-9_.-]{1,128}$")
    format: MessageFormat
    """What each record is: one JSON object, one Avro datum, or one Protobuf message."""
    region: str | None = None
    """None means the usual AWS settings; credentials always come from there."""
    endpoint: str | None = None
    """Address of a service that speaks Kinesis; none means AWS."""
    schema_: str | None = Field(default=None, alias="schema")
    """As for a Kafka feed."""
    message: str | None = None
    """As for a Kafka feed."""
    schema_id: int | None = Field(default=None, ge=0)
    """As for a Kafka feed."""

    @model_validator(mode="after")
    def _schema_fits(self) -> KinesisFeed:
        _check_schema(self.format, self.schema_, self.message)
        return self


def _check_schema(format: MessageFormat, schema: str | None, message: str | None) -> None:
    if format != "json" and schema is None:
        raise ValueError(f"format {format} needs `schema`: name the file that its messages are written by")
    if format == "protobuf" and message is None:
        raise ValueError("format protobuf needs `message`: the full name of its message, such as `flights.Arrival`")


MessageFeed = KafkaFeed | KinesisFeed
Feed = Annotated[ObjectFeed | KafkaFeed | KinesisFeed, Field(discriminator="kind")]


class HaltWhen(Spec):
    """When a whole generation is refused, or a stream stops, instead of its bad rows alone being set aside."""

    dead_letter_rate: float = Field(default=0.05, ge=0, le=1)
    """Highest share of rows that may be refused, 0..1."""
    breaking_change: Literal["halt", "quarantine"] = "halt"
    """What an object does that lacks a required column, or has one of another type, however few such objects are."""


class Deduplication(Spec):
    """Which earlier rows a new one is compared with. The key is the contract's primary key."""

    window: Duration | None = None
    """How far before the oldest new event the table is searched; none means all of it."""


class SourceSpec(Spec):
    """One source: a contract and the feeds that fill one table under it."""

    contract: str
    """Path of an ODCS file, relative to the pipeline file."""
    feeds: tuple[Feed, ...] = Field(min_length=1)
    dedup: Deduplication = Deduplication()
    halt_when: HaltWhen = HaltWhen()
    history: HistorySpec = HistorySpec()
    """Comparisons with what came before."""

    @property
    def objects(self) -> tuple[ObjectFeed, ...]:
        """The feeds that `raypipe ingest` reads."""
        return tuple(f for f in self.feeds if isinstance(f, ObjectFeed))

    @property
    def messages(self) -> tuple[MessageFeed, ...]:
        """The feeds that `raypipe stream` reads."""
        return tuple(f for f in self.feeds if not isinstance(f, ObjectFeed))
