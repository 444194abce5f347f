"""What a table's columns looked like, as a value that can be summed over a cluster.

`merge` is associative, has the identity `Profile.empty()` and does not care how rows were split: counts are exact,
moments agree to rounding, quantiles within the error of the sketch. Knows Arrow columns; does not know what a profile
is compared with. Profiles of equal data need not be equal bytes: the quantile sketch compacts at random.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasketches import frequent_items_error_type, frequent_strings_sketch, kll_doubles_sketch

from raypipe.columns import Column, ColumnType, column_type

# Normalised rank error about 0.13 %; with k=200 (1.3 %) shifts of 0.1 standard deviations go unseen.
KLL_K = 2000
# Exact up to 0.75 * 2**12 = 3072 distinct values, an estimate with known bounds above.
LG_MAX_VALUES = 12
# The name under which a profile holds a model's scores; no column of a table is called so.
SCORE = "@score"


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """One column's counts, moments, quantiles and most frequent values.

    Parameters
    ----------
    type
        Type of the column. Timestamps are profiled as seconds since 1970.
    rows, nulls, nans
        Exact counts. `nans` holds NaN and infinite values; nulls are counted apart.
    mean, m2
        Mean and sum of squared deviations of the finite values (Chan, Golub and LeVeque 1979, eq. 2.1).
    minimum, maximum
        Of the finite values; None without any.
    quantile_sketch
        Serialized KLL sketch (Karnin, Lang and Liberty 2016) with k = 2000; empty for strings.
    value_sketch
        Serialized frequent-items sketch; empty for other types than strings.
    """

    type: ColumnType
    rows: int = 0
    nulls: int = 0
    nans: int = 0
    mean: float = 0.0
    m2: float = 0.0
    minimum: float | None = None
    maximum: float | None = None
    quantile_sketch: bytes = b""
    value_sketch: bytes = b""

    @staticmethod
    def of(values: pa.ChunkedArray[Any]) -> ColumnProfile:
        """Return the profile of one column.

        Raises
        ------
        TypeError
            When the column holds lists, structs or another type that has no profile.
        """
        kind = column_type(values.type)
        empty = ColumnProfile(kind, rows=len(values), nulls=values.null_count)
        if kind == "string":
            return replace(empty, value_sketch=_count_values(values))
        numbers = _numbers(values, kind)
        finite = numbers[np.isfinite(numbers)]
        found = replace(empty, nans=len(numbers) - len(finite))
        if not len(finite):
            return found
        sketch = kll_doubles_sketch(KLL_K)
        sketch.update(finite)
        mean = float(finite.mean())
        return replace(
            found,
            mean=mean,
            m2=float(np.square(finite - mean).sum()),
            minimum=float(finite.min()),
            maximum=float(finite.max()),
            quantile_sketch=bytes(sketch.serialize()),
        )

    @property
    def count(self) -> int:
        """Number of values that are neither null, NaN nor infinite."""
        return self.rows - self.nulls - self.nans

    @property
    def std(self) -> float | None:
        """Standard deviation with n - 1; None below two values."""
        return math.sqrt(self.m2 / (self.count - 1)) if self.type != "string" and self.count > 1 else None

    @property
    def null_rate(self) -> float | None:
        """Share of nulls, 0..1; None without rows."""
        return self.nulls / self.rows if self.rows else None

    def quantiles(self, ranks: Sequence[float]) -> tuple[float, ...] | None:
        """Return the values at these ranks (0..1, within 0.13 % of rank); None where there are no numbers."""
        if not self.quantile_sketch:
            return None
        sketch = kll_doubles_sketch.deserialize(self.quantile_sketch)
        return tuple(float(q) for q in sketch.get_quantiles(list(ranks), True))

    def cdf(self, at: Sequence[float]) -> tuple[float, ...] | None:
        """Return the share of finite values at most each of `at`; None where there are no numbers."""
        if not self.quantile_sketch:
            return None
        sketch = kll_doubles_sketch.deserialize(self.quantile_sketch)
        return tuple(float(sketch.get_rank(x, True)) for x in at)

    def top(self, limit: int) -> tuple[tuple[str, int], ...]:
        """Return up to `limit` most frequent strings with their counts, ties in order of the string."""
        if not self.value_sketch:
            return ()
        sketch = frequent_strings_sketch.deserialize(self.value_sketch)
        found = sketch.get_frequent_items(frequent_items_error_type.NO_FALSE_NEGATIVES)
        return tuple(sorted(((v, int(n)) for v, n, *_ in found), key=lambda f: (-f[1], f[0]))[:limit])

    def merge(self, other: ColumnProfile) -> ColumnProfile:
        """Return the profile of both columns' rows together.

        Raises
        ------
        ValueError
            When the two columns have different types.
        """
        if self.type != other.type:
            raise ValueError(
                f"a {self.type} column cannot be merged with a {other.type} column: cast one of them first"
            )
        n, m = self.count, other.count
        delta = other.mean - self.mean
        mean = self.mean + delta * m / (n + m) if n and m else (self.mean if n else other.mean)
        return ColumnProfile(
            self.type,
            self.rows + other.rows,
            self.nulls + other.nulls,
            self.nans + other.nans,
            mean,
            self.m2 + other.m2 + (delta * delta * n * m / (n + m) if n and m else 0.0),
            min((x for x in (self.minimum, other.minimum) if x is not None), default=None),
            max((x for x in (self.maximum, other.maximum) if x is not None), default=None),
            _merge_quantiles(self.quantile_sketch, other.quantile_sketch),
            _merge_values(self.value_sketch, other.value_sketch),
        )


@dataclass(frozen=True, slots=True)
class Profile:
    """Column profiles by name.

    Examples
    --------
    >>> left, right = (Profile.of(pa.table({"x": x})) for x in ([1.0, 2.0], [3.0, None]))
    >>> whole = left.merge(right).columns["x"]
    >>> whole.rows, whole.nulls, whole.mean
    (4, 1, 2.0)
    """

    columns: Mapping[str, ColumnProfile]

    @staticmethod
    def empty() -> Profile:
        """Return the profile of nothing, the identity of `merge`."""
        return Profile({})

    @staticmethod
    def of(table: pa.Table, columns: Sequence[Column] | None = None) -> Profile:
        """Return the profile of a table's columns, or of those named, which are cast first."""
        if columns is not None:
            arrays = [table.column(c.name).cast(c.arrow) for c in columns]
            table = pa.Table.from_arrays(arrays, names=[c.name for c in columns])
        return Profile({name: ColumnProfile.of(table.column(name)) for name in table.column_names})

    @property
    def rows(self) -> int:
        """Rows of the column that has most."""
        return max((c.rows for c in self.columns.values()), default=0)

    def merge(self, other: Profile) -> Profile:
        """Return the profile of both tables' rows together; a column that one lacks counts only the other's rows."""
        merged = dict(self.columns)
        for name, column in other.columns.items():
            merged[name] = merged[name].merge(column) if name in merged else column
        return Profile(merged)

    def to_json(self) -> str:
        """Return canonical JSON; sketches are base64."""
        columns = {name: _column_json(c) for name, c in self.columns.items()}
        return json.dumps({"columns": columns}, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @staticmethod
    def from_json(text: str | bytes) -> Profile:
        """Return the profile that `to_json` wrote."""
        columns = {}
        for name, fields in json.loads(text)["columns"].items():
            for sketch in ("quantile_sketch", "value_sketch"):
                fields[sketch] = base64.b64decode(fields[sketch])
            columns[name] = ColumnProfile(**fields)
        return Profile(columns)


def _column_json(column: ColumnProfile) -> dict[str, object]:
    fields: dict[str, object] = {name: getattr(column, name) for name in ColumnProfile.__slots__}
    return {k: base64.b64encode(v).decode() if isinstance(v, bytes) else v for k, v in fields.items()}


def _numbers(values: pa.ChunkedArray[Any], kind: ColumnType) -> np.ndarray:
    present = values.drop_null()
    if kind == "timestamp":
        micros = present.cast(pa.timestamp("us", getattr(values.type, "tz", None)), safe=False).cast(pa.int64())
        return micros.to_numpy().astype(np.float64) / 1e6
    return present.cast(pa.float64(), safe=False).to_numpy()


def _count_values(values: pa.ChunkedArray[Any]) -> bytes:
    counts = pc.value_counts(values.drop_null().cast(pa.string()).combine_chunks())
    if not len(counts):
        return b""
    sketch = frequent_strings_sketch(LG_MAX_VALUES)
    for value, n in zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True):
        sketch.update(value, n)
    return bytes(sketch.serialize())


def _merge_quantiles(left: bytes, right: bytes) -> bytes:
    if not left or not right:
        return left or right
    merged = kll_doubles_sketch.deserialize(left)
    merged.merge(kll_doubles_sketch.deserialize(right))
    return bytes(merged.serialize())


def _merge_values(left: bytes, right: bytes) -> bytes:
    if not left or not right:
        return left or right
    merged = frequent_strings_sketch.deserialize(left)
    merged.merge(frequent_strings_sketch.deserialize(right))
    return bytes(merged.serialize())
