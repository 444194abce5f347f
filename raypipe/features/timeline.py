"""Rows of many entities in order of time, and how many of them lie before a moment.

Knows entity numbers and microseconds; does not know what the rows hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raypipe.errors import ConfigError
from raypipe.features.expression import TIMESTAMP, column, known

Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_LARGEST = 2**62


@dataclass(frozen=True, slots=True)
class Timeline:
    """Rows ordered by (entity, time).

    Parameters
    ----------
    order
        Row numbers in that order; shape (n,), int64.
    """

    order: Integers
    _times: Integers
    _keys: Integers

    @staticmethod
    def of(entities: Integers, times: Integers) -> Timeline:
        """Return the timeline of rows with these entities (0 and up) and times (microseconds)."""
        n = len(times)
        by_time = np.argsort(times, kind="stable")
        rank = np.empty(n, np.int64)
        rank[by_time] = np.arange(1, n + 1)
        keys = entities * (n + 1) + rank
        order = np.argsort(keys)
        return Timeline(order, times[by_time], keys[order])

    def position(self, entities: Integers, times: Integers) -> Integers:
        """Return how many places of `order` come before or at (entity, time), for each pair; -1 is before everything.

        The rows `order[:position]` are all rows of smaller entities and those of this one up to and at the time.
        """
        # A time becomes the number of source rows up to it: small enough to share one int64 with the entity.
        passed = np.searchsorted(self._times, times, side="right")
        keys = entities * (len(self._times) + 1) + passed
        ascending = np.argsort(keys)
        found = np.empty(len(keys), np.int64)
        found[ascending] = np.searchsorted(self._keys, keys[ascending], side="right")
        return found


def microseconds(table: pa.Table, name: str, *, of: str) -> tuple[Integers, Mask]:
    """Return a column's times as int64 microseconds since 1970 UTC (0 where null), and where they are known.

    Raises
    ------
    ConfigError
        When there is no such column, or it does not hold timestamps.
    """
    values = column(table, name, of=of)
    if not (pa.types.is_timestamp(values.type) or pa.types.is_null(values.type)):
        raise ConfigError(
            f"a timestamp is needed, and {name!r} of {of} is of type {values.type}: choose another column, or give it "
            "the logical type timestamp in the contract",
            key=name,
        )
    times = values.cast(TIMESTAMP, safe=False).cast(pa.int64())
    return times.fill_null(0).to_numpy(), known(times)


def number_entities(
    spine: pa.Table, rows: pa.Table, keys: tuple[str, ...], *, source: str
) -> tuple[Integers, Integers]:
    """Return one number per row of either table, equal exactly when all keys are equal; -1 where any key is null.

    Raises
    ------
    ConfigError
        When a key is missing from a table, or has different types in the two.
    """
    total = spine.num_rows + rows.num_rows
    numbers, distinct = np.zeros(total, np.int64), 1
    null = np.zeros(total, np.bool_)
    for key in keys:
        left, right = _same_type(
            column(spine, key, of="the spine"), column(rows, key, of=f"source `{source}`"), key, source
        )
        encoded = pa.concat_arrays([left, right]).dictionary_encode()
        size = max(1, len(encoded.dictionary))
        if distinct * size * (total + 1) >= _LARGEST:
            dense, numbers = np.unique(numbers, return_inverse=True)
            distinct = len(dense)
        null |= ~known(encoded.indices)
        numbers = numbers * size + encoded.indices.cast(pa.int64()).fill_null(0).to_numpy()
        distinct *= size
    numbers[null] = -1
    return numbers[: spine.num_rows], numbers[spine.num_rows :]


def _same_type(left: pa.Array[Any], right: pa.Array[Any], key: str, source: str) -> tuple[pa.Array[Any], pa.Array[Any]]:
    if pa.types.is_integer(left.type) and pa.types.is_integer(right.type):
        left, right = left.cast(pa.int64()), right.cast(pa.int64())
    if pa.types.is_null(left.type):
        left = left.cast(right.type)
    if pa.types.is_null(right.type):
        right = right.cast(left.type)
    if left.type != right.type:
        raise ConfigError(
            f"entity {key!r} is {left.type} in the spine and {right.type} in source `{source}`: give both contracts "
            "the same logical type",
            key=key,
        )
    return left, right
