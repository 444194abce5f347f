"""Messages of a source's feeds become events and dead letters of one batch. Knows values, not where they are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raypipe.adapters.feed import Messages
from raypipe.adapters.ingest_split import Arrival, Split, split
from raypipe.contracts.gate import GateEvidence
from raypipe.contracts.messages import Codec, read_messages


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What is committed together.

    Parameters
    ----------
    split
        Events and dead letters of all messages.
    places
        Where each message stands (string).
    positions
        Where to go on after them.
    produced_ms
        When each message was produced, as `Messages` has it.
    """

    split: Split
    places: pa.Array[Any]
    positions: Mapping[str, int]
    produced_ms: npt.NDArray[np.int64]

    @property
    def messages(self) -> int:
        """How many there are."""
        return self.split.evidence.rows


def read_batch(read: Sequence[tuple[Codec, Messages]], arrival: Arrival) -> Batch:
    """Return the messages of all feeds, decoded and checked."""
    parts = [
        split(read_messages(messages.values, codec), arrival, messages.places.take)
        for codec, messages in read
        if len(messages.values)
    ]
    whole = Split(
        pa.concat_tables(p.accepted for p in parts),
        pa.concat_tables(p.refused for p in parts),
        reduce(GateEvidence.merge, (p.evidence for p in parts), GateEvidence()),
    )
    positions = {name: number for _, messages in read for name, number in messages.positions.items()}
    places = pa.concat_arrays([m.places for _, m in read])
    return Batch(whole, places, positions, np.concatenate([m.produced_ms for _, m in read]))
