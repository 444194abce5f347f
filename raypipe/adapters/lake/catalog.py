"""The tables of the lake by name and schema. The one place that knows their columns."""

from __future__ import annotations

import pyarrow as pa

from raypipe.adapters.lake.store import Store
from raypipe.adapters.lake.tables import LakeTable
from raypipe.contracts.contract import Contract

TIMESTAMP = pa.timestamp("us", "UTC")

_LETTER_COLUMNS: dict[str, pa.DataType] = {
    "letter_id": pa.string(),
    "source": pa.string(),
    "raw": pa.string(),
    "types": pa.string(),
    "reasons": pa.list_(pa.string()),
    "source_position": pa.string(),
    "contract_version": pa.string(),
    "generation": pa.int64(),
    "known_at": TIMESTAMP,
}
DEAD_LETTERS = pa.schema(_LETTER_COLUMNS)

_FATE_COLUMNS: dict[str, pa.DataType] = {
    "letter_id": pa.string(),
    "source": pa.string(),
    "number": pa.int64(),
    "fate": pa.string(),
    "replay": pa.int64(),
    "at": TIMESTAMP,
    "who": pa.string(),
    "why": pa.string(),
}
LETTER_FATES = pa.schema(_FATE_COLUMNS)

_EVENT_COLUMNS: dict[str, pa.DataType] = {
    "event_id": pa.string(),
    "event_at": TIMESTAMP,
    "known_at": TIMESTAMP,
    "source_position": pa.string(),
    "contract_version": pa.string(),
    "generation": pa.int64(),
    "event_date": pa.date32(),
}


_PREDICTION_COLUMNS: dict[str, pa.DataType] = {
    "request_id": pa.string(),
    "row": pa.int64(),
    "model": pa.string(),
    "version": pa.string(),
    "unit": pa.string(),
    "unit_kind": pa.string(),
    "assigned_arm": pa.string(),
    "answered_by": pa.string(),
    "fallback_reason": pa.string(),
    "rollout": pa.string(),
    "epoch": pa.int64(),
    "at": TIMESTAMP,
    "features": pa.string(),
    "score": pa.float64(),
    "latency_ms": pa.float64(),
    "status": pa.int64(),
}
PREDICTIONS = pa.schema(_PREDICTION_COLUMNS)

_PAIR_COLUMNS: dict[str, pa.DataType] = {
    "request_id": pa.string(),
    "row": pa.int64(),
    "model": pa.string(),
    "unit": pa.string(),
    "rollout": pa.string(),
    "epoch": pa.int64(),
    "at": TIMESTAMP,
    "champion_version": pa.string(),
    "challenger_version": pa.string(),
    "champion_score": pa.float64(),
    "challenger_score": pa.float64(),
    "difference": pa.float64(),
    "error": pa.string(),
}
SHADOW_PAIRS = pa.schema(_PAIR_COLUMNS)


_PROFILE_COLUMNS: dict[str, pa.DataType] = {
    "source": pa.string(),
    "generation": pa.int64(),
    "at": TIMESTAMP,
    "verdict": pa.string(),
    "newest_event_at": TIMESTAMP,
    "rows": pa.int64(),
    "counts": pa.string(),
    "days": pa.string(),
    "columns": pa.string(),
}
PROFILES = pa.schema(_PROFILE_COLUMNS)


_SAMPLE_COLUMNS: dict[str, pa.DataType] = {
    "event_id": pa.string(),
    "event_date": pa.date32(),
    "generation": pa.int64(),
}
KEY_SAMPLES = pa.schema(_SAMPLE_COLUMNS)


def event_schema(contract: Contract) -> pa.Schema:
    """Return the columns of accepted events: the contract's, and those that raypipe adds."""
    columns: dict[str, pa.DataType] = {f.name: f.type for f in contract.fields}
    return pa.schema(columns | _EVENT_COLUMNS)


def events_table(store: Store, source: str, contract: Contract) -> LakeTable:
    """Return the table of a source's accepted events, a directory for each event date."""
    return LakeTable(store, f"events/{source}", event_schema(contract), partition_by=("event_date",))


def added_columns(store: Store, source: str) -> LakeTable:
    """Return the table of a source's accepted events as far as no contract is needed, to be read."""
    return LakeTable(store, f"events/{source}", pa.schema(_EVENT_COLUMNS), partition_by=("event_date",))


SAMPLE_APP = "sample"
"""Application id of every commit to a table of key samples: who writes them all again has to be the next."""


def key_samples_table(store: Store, source: str) -> LakeTable:
    """Return the table of the event ids of a source that are in the sample."""
    return LakeTable(store, f"key_samples/{source}", KEY_SAMPLES)


def dead_letters_table(store: Store) -> LakeTable:
    """Return the table of refused records of all sources."""
    return LakeTable(store, "dead_letters", DEAD_LETTERS)


def letter_fates_table(store: Store) -> LakeTable:
    """Return the table of what became of refused records: replayed or dropped, by whom and why."""
    return LakeTable(store, "letter_fates", LETTER_FATES)


def profiles_table(store: Store) -> LakeTable:
    """Return the table of what each committed generation of a source looked like, a directory for each."""
    return LakeTable(store, "profiles", PROFILES, partition_by=("source", "generation"))


def examples_table(store: Store, pipeline: str, schema: pa.Schema) -> LakeTable:
    """Return the table of a pipeline's training examples; their columns are those of its features."""
    return LakeTable(store, f"examples/{pipeline}", schema)


def predictions_table(store: Store) -> LakeTable:
    """Return the table of every answered request, one row for each row of it."""
    return LakeTable(store, "predictions", PREDICTIONS)


def shadow_pairs_table(store: Store) -> LakeTable:
    """Return the table of requests that a challenger was asked beside the champion."""
    return LakeTable(store, "shadow_pairs", SHADOW_PAIRS)
