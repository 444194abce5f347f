"""From columns to the matrix a model reads: fitted on a profile, applied alike in training and serving.

Every row is transformed by itself, so a row's inputs do not depend on the batch it came in. Knows columns and
profiles; does not know models. A missing number is the mean, and says so in a column of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, assert_never
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from raypipe.columns import Column
from raypipe.profile import ColumnProfile, Profile
from raypipe.spec import Spec

# One impossible measurement (a wind of 1,048 mph) must not drown a row's other inputs.
CLIP = 5.0
# Rarer values share one input: each would have too few rows to learn from.
MAX_VALUES = 64
_DAY_US = 86_400_000_000
_HARMONICS = (1, 2)
_FLOAT = pa.float64()


class Numeric(Spec):
    """`(x - mean) / scale`, clipped to ±5; null, NaN and infinite become 0 with indicator 1. Two inputs."""

    kind: Literal["numeric"] = "numeric"
    column: str
    mean: float
    scale: float

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs, in order."""
        return self.column, f"{self.column}:missing"


class Category(Spec):
    """One input for each known value, one for any other, one for null; exactly one of them is 1."""

    kind: Literal["category"] = "category"
    column: str
    values: tuple[str, ...]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs, in order."""
        return *(f"{self.column}={v}" for v in self.values), f"{self.column}:other", f"{self.column}:missing"


class Clock(Spec):
    """Time of day as sine and cosine (24 h and 12 h periods) and weekday, on a local clock; null is all 0 but one."""

    kind: Literal["clock"] = "clock"
    column: str
    time_zone: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs, in order; weekday 0 is Monday."""
        waves = (f"{self.column}:{f}{h}" for h in _HARMONICS for f in ("sin", "cos"))
        return *waves, *(f"{self.column}:weekday{d}" for d in range(7)), f"{self.column}:missing"


Transform = Annotated[Numeric | Category | Clock, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Where each transform writes, worked out once: a request of one row is mostly such bookkeeping.

    Parameters
    ----------
    width
        Columns of the matrix.
    numeric
        Names of the numeric columns, which are scaled together.
    slots
        Shape (len(numeric),): where each writes its value; the next column is its indicator.
    mean, scale
        Shape (len(numeric),).
    others
        The other transforms, with the first and the last column that they write, and the values of a category.
    """

    width: int
    numeric: tuple[str, ...]
    slots: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    others: tuple[tuple[Category | Clock, int, int, pa.Array[Any]], ...]


class TransformState(Spec):
    """Fitted transforms, in the order of the columns; JSON by `model_dump_json`."""

    transforms: tuple[Transform, ...]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the matrix's columns, in order."""
        return tuple(name for t in self.transforms for name in t.inputs)

    @cached_property
    def layout(self) -> Layout:
        """Where each transform writes."""
        start = 0
        numeric: list[tuple[Numeric, int]] = []
        others: list[tuple[Category | Clock, int, int, pa.Array[Any]]] = []
        for transform in self.transforms:
            stop = start + len(transform.inputs)
            if isinstance(transform, Numeric):
                numeric.append((transform, start))
            else:
                known = transform.values if isinstance(transform, Category) else ()
                others.append((transform, start, stop, pa.array(known, pa.string())))
            start = stop
        return Layout(
            width=start,
            numeric=tuple(t.column for t, _ in numeric),
            slots=np.array([at for _, at in numeric], np.int64),
            mean=np.array([t.mean for t, _ in numeric], np.float64),
            scale=np.array([t.scale for t, _ in numeric], np.float64),
            others=tuple(others),
        )

    def apply(self, table: pa.Table) -> np.ndarray:
        """Return the inputs of every row.

        Parameters
        ----------
        table
            Has every fitted column, in the type of its `Column`; other columns are ignored.

        Returns
        -------
        numpy.ndarray
            float32, shape (rows, len(inputs)), finite everywhere.

        Raises
        ------
        KeyError
            When a column is missing.
        """
        layout = self.layout
        matrix = np.zeros((table.num_rows, layout.width), dtype=np.float32)
        if layout.numeric:
            _write_numbers(layout, table, matrix)
        for transform, start, stop, known in layout.others:
            values = table.column(transform.column)
            match transform:
                case Category():
                    _write_category(known, values, matrix[:, start:stop])
                case Clock():
                    _write_clock(transform, values, matrix[:, start:stop])
                case _:
                    assert_never(transform)
        return matrix


def fit(profile: Profile, columns: Sequence[Column], time_zone: str = "UTC") -> TransformState:
    """Return the transforms of `columns`, from what their profile counted.

    Raises
    ------
    KeyError
        When the profile lacks a column.
    zoneinfo.ZoneInfoNotFoundError
        When the time zone has no such name.
    """
    ZoneInfo(time_zone)
    return TransformState(transforms=tuple(_fit_column(c, profile.columns[c.name], time_zone) for c in columns))


def _fit_column(column: Column, profile: ColumnProfile, time_zone: str) -> Numeric | Category | Clock:
    match column.type:
        case "string":
            return Category(column=column.name, values=tuple(sorted(v for v, _ in profile.top(MAX_VALUES))))
        case "timestamp":
            return Clock(column=column.name, time_zone=time_zone)
        case "int64" | "float64" | "bool":
            # A constant column has no scale of its own; it stays at 0 until it changes.
            return Numeric(column=column.name, mean=profile.mean, scale=profile.std or 1.0)
        case _:
            assert_never(column.type)


def _write_numbers(layout: Layout, table: pa.Table, out: np.ndarray) -> None:
    numbers = np.empty((table.num_rows, len(layout.numeric)))
    for i, name in enumerate(layout.numeric):
        values = table.column(name)
        numbers[:, i] = (values if values.type == _FLOAT else values.cast(_FLOAT, safe=False)).to_numpy()
    missing = ~np.isfinite(numbers)
    scaled = (np.where(missing, layout.mean, numbers) - layout.mean) / layout.scale
    out[:, layout.slots] = scaled.clip(-CLIP, CLIP)
    out[:, layout.slots + 1] = missing


def _write_category(values_known: pa.Array[Any], values: pa.ChunkedArray[Any], out: np.ndarray) -> None:
    known = len(values_known)
    found = pc.index_in(values, value_set=values_known)
    slots = found.fill_null(known).to_numpy()
    if values.null_count:
        slots = np.where(values.is_null().to_numpy(), known + 1, slots)
    out[np.arange(len(slots)), slots] = 1.0


def _write_clock(state: Clock, values: pa.ChunkedArray[Any], out: np.ndarray) -> None:
    missing = values.is_null().to_numpy()
    zoned: Any = values.cast(pa.timestamp("us", state.time_zone))
    local = pc.local_timestamp(zoned)
    micros = local.cast(pa.int64()).fill_null(0).to_numpy()
    angle = (micros % _DAY_US) * (2 * math.pi / _DAY_US)
    for i, harmonic in enumerate(_HARMONICS):
        out[:, 2 * i] = np.sin(harmonic * angle)
        out[:, 2 * i + 1] = np.cos(harmonic * angle)
    # 1 January 1970 was a Thursday, weekday 3.
    out[np.arange(len(micros)), 2 * len(_HARMONICS) + (micros // _DAY_US + 3) % 7] = 1.0
    out[missing] = 0.0
    out[missing, -1] = 1.0
