"""What the user's file says about one source of events. Does not know how objects are read."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from raypipe.contracts.history_spec import HistorySpec
from raypipe.spec import Duration, Spec


class ObjectFeed(Spec):
    """Objects under a prefix of the store, or files below a directory."""

    kind: Literal["objects"]
    uri: str
    """Prefix such as `s3://landing/flights/`, or a directory."""
    format: Literal["parquet", "csv", "jsonl", "avro"]


class HaltWhen(Spec):
    """When a whole generation is refused instead of its bad rows alone."""

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
    feeds: tuple[ObjectFeed, ...] = Field(min_length=1)
    dedup: Deduplication = Deduplication()
    halt_when: HaltWhen = HaltWhen()
    history: HistorySpec = HistorySpec()
    """Comparisons with what came before."""
