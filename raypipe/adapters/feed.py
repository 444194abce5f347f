"""What a stream reads from, in our words: messages, where each stands, and where to go on after them.

A feed keeps no position of its own: it is told where to begin, and says with what it read where to go on. These
numbers are kept with the rows, in the same commit. Knows no broker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raypipe.contracts.messages import Codec


@dataclass(frozen=True, slots=True, eq=False)
class Messages:
    """Messages of one feed in the order in which they were read.

    Parameters
    ----------
    values
        Their payloads; None is a tombstone.
    places
        Where each stands (string), such as `kafka://flights/0#17`.
    produced_ms
        When each was produced, in milliseconds since 1970, int64; -1 where that is not known.
    positions
        Where to go on after them, by the name of each number.
    lost
        Sentences about messages that were deleted before they were read.
    """

    values: Sequence[bytes | None] = ()
    places: pa.Array[Any] = field(default_factory=lambda: pa.array([], pa.string()))
    produced_ms: npt.NDArray[np.int64] = field(default_factory=lambda: np.array([], np.int64))
    positions: Mapping[str, int] = field(default_factory=dict)
    lost: tuple[str, ...] = ()

    @staticmethod
    def joined(polled: Sequence[Messages]) -> Messages:
        """Return the messages of one feed that were read one after the other."""
        return Messages(
            [v for m in polled for v in m.values],
            pa.concat_arrays([pa.array([], pa.string()), *(m.places for m in polled)]),
            np.concatenate([np.array([], np.int64), *(m.produced_ms for m in polled)]),
            {name: number for m in polled for name, number in m.positions.items()},
            tuple(said for m in polled for said in m.lost),
        )

    @property
    def size_bytes(self) -> int:
        """Bytes of all payloads."""
        return sum(len(v) for v in self.values if v)


class Feed(Protocol):
    """One feed of a source. Every method raises `Unavailable` or `AccessDenied` where the service does."""

    @property
    def name(self) -> str:
        """Names it in messages."""

    @property
    def codec(self) -> Codec:
        """Reads its values."""

    def names(self) -> Sequence[str]:
        """Return the names of all numbers that say where the feed stands, at most 63 bits each."""

    def seek(self, positions: Mapping[str, int]) -> None:
        """Go on from these numbers; where they are absent or 0, from the oldest message that is kept."""

    def poll(self, most: int, wait_s: float) -> Messages:
        """Return at most so many messages, those that are there within `wait_s`."""

    @property
    def exhausted(self) -> bool:
        """Whether everything was read at least once since `seek`."""

    def lag(self) -> Mapping[str, int]:
        """Return how many messages (Kafka) or milliseconds (Kinesis) each partition is behind, as far as known."""

    def close(self) -> None:
        """Let go of every connection."""
