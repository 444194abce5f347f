"""How many accepted rows repeat an event from before the deduplication window, by a sample of event ids.

Whether an event is in the sample depends on its id alone, so a copy falls into it exactly when its first does, whatever
object, batch or generation each came in. Not on its time: a copy of the same event time is within every window, and
the copies that are not bear another.
Knows ids and counts. Does not know where samples are kept. Nothing is removed by what it finds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raypipe.spec import format_duration
from raypipe.verdict import Finding, Status, Verdict, worst

RULE = "late_duplicates"
SHARE = 256
"""One event of so many is in the sample. Kept samples are of this share: another makes them worthless."""

# Steele, Lea and Flood, Fast splittable pseudorandom number generators, OOPSLA 2014: the finalizer of SplitMix64.
_GAMMA, _MIX_1, _MIX_2 = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_Z = 1.959963984540054  # two-sided 95 %
_COVERED = 0.5
_BLOCK_ROWS = 8_192  # what one step computes stays in the processor's cache


@dataclass(frozen=True, slots=True)
class Late:
    """What the sample says about one generation.

    Parameters
    ----------
    before
        Events of earlier dates were not searched for duplicates.
    accepted
        Accepted rows of the generation. No two have the same id.
    sampled
        How many of them are in the sample.
    earlier_rows
        Rows of the table before that date.
    earlier_sampled
        How many events of those dates the kept sample has.
    matches
        How many ids are in both samples: each is a duplicate for certain.

    Examples
    --------
    >>> late = Late(date(2013, 1, 1), 1_000_000, 3_900, 9_000_000, 35_000, matches=9)
    >>> late.estimate, late.low, late.high
    (2304, 1051, 4374)
    """

    before: date
    accepted: int
    sampled: int
    earlier_rows: int
    earlier_sampled: int
    matches: int

    @property
    def estimate(self) -> int:
        """Rows that are duplicates: unbiased, as each is in the sample with probability 1 / `SHARE`."""
        return min(self.accepted, self.matches * SHARE)

    @property
    def low(self) -> int:
        """Lower end of the 95 % interval of the estimate, and at least what was seen."""
        return min(self.accepted, max(self.matches, math.floor(poisson_interval(self.matches)[0] * SHARE)))

    @property
    def high(self) -> int | None:
        """Upper end of the 95 % interval; None where less than half of the earlier rows were ever sampled."""
        if not self.earlier_rows and not self.matches:
            return 0
        if self.earlier_sampled * SHARE < _COVERED * self.earlier_rows:
            return None
        return min(self.accepted, math.ceil(poisson_interval(self.matches)[1] * SHARE))

    def plain(self) -> dict[str, object]:
        """Return the numbers as JSON has them, with what follows from them."""
        follows = {"estimate": self.estimate, "low": self.low, "high": self.high}
        return {**asdict(self), "before": self.before.isoformat(), **follows}

    @staticmethod
    def of(numbers: Mapping[str, Any]) -> Late:
        """Return what `plain` gave these numbers."""
        counts = {n: int(numbers[n]) for n in ("accepted", "sampled", "earlier_rows", "earlier_sampled", "matches")}
        return Late(date.fromisoformat(numbers["before"]), **counts)


def poisson_interval(count: int) -> tuple[float, float]:
    """Return a two-sided 95 % interval of the mean of a Poisson variable that was seen to be `count`.

    How many of n duplicates are in the sample is binomial, which varies less than Poisson: the interval covers at
    least as often. Garwood's exact one (Biometrika 28, 1936) in Byar's approximation (Breslow and Day, Statistical
    Methods in Cancer Research II, IARC 1987, chapter 2): its ends are off by 0.2 % at most from a count of 10 on;
    below, the lower end is too low, on the safe side, and the upper end by 0.6 % at most.

    Examples
    --------
    >>> [round(end, 1) for end in poisson_interval(10)]
    [4.8, 18.4]
    """
    above = count + 1
    high = above * (1 - 1 / (9 * above) + _Z / (3 * math.sqrt(above))) ** 3
    low = count * (1 - 1 / (9 * count) - _Z / (3 * math.sqrt(count))) ** 3 if count else 0.0
    return low, high


def in_sample(ids: pa.ChunkedArray[Any]) -> npt.NDArray[np.bool_]:
    """Return which event ids are in the sample; each by itself alone, and the same for ever."""
    blocks = [c.slice(start, _BLOCK_ROWS) for c in ids.chunks for start in range(0, len(c), _BLOCK_ROWS)]
    chosen = np.zeros(len(ids), np.bool_)
    end = 0
    for block in blocks:
        begin, end = end, end + len(block)
        chosen[begin:end] = _hashes(block) % np.uint64(SHARE) == 0
    return chosen


def _hashes(ids: pa.Array[Any]) -> npt.NDArray[np.uint64]:
    """Return a hash of each text: its bytes, eight at a time, each step mixed into the last.

    Kept samples depend on it, so it is written here: the hashes of libraries change with their versions.
    """
    _, offsets, data = ids.cast(pa.string()).buffers()
    ends = np.frombuffer(memoryview(offsets or b""), np.int32, len(ids) + 1, ids.offset * 4).astype(np.int64)
    text = memoryview(data or b"")[ends[0] : ends[-1]]
    padded = np.frombuffer(b"".join([text, bytes(8)]), np.uint8)
    words: npt.NDArray[np.uint64] = np.ndarray((len(padded) - 7,), "<u8", padded, strides=(1,))
    hashes = np.empty(len(ids), np.uint64)
    for places, state in _finished(words, ends[:-1] - ends[0], np.diff(ends)):
        hashes[places] = _mixed(state)
    return hashes


def _finished(
    words: npt.NDArray[np.uint64], at: npt.NDArray[np.int64], left: npt.NDArray[np.int64]
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]]:
    """Yield places and states of the texts that end, step by step of eight bytes."""
    places, state = np.arange(len(at)), (left + 1).astype(np.uint64) * _GAMMA
    while len(places):
        if (done := left <= 0).any():
            yield places[done], state[done]
            more = ~done
            places, state, at, left = places[more], state[more], at[more], left[more]
        # Bytes of the next text do not belong to this one.
        beyond = ((8 - np.minimum(left, 8)) * 8).astype(np.uint64)
        state = (state ^ ((words[at] << beyond) >> beyond)) * _MIX_1
        state ^= state >> np.uint64(32)
        at, left = at + 8, left - 8


def _mixed(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * _MIX_1
    state = (state ^ (state >> np.uint64(27))) * _MIX_2
    return state ^ (state >> np.uint64(31))


def with_late(verdict: Verdict, late: Late | None, source: str, window: timedelta | None) -> Verdict:
    """Return the verdict, with a warning where rows of the generation are duplicates from before the window."""
    if late is None or window is None or not late.matches:
        return verdict
    high = f"{_about(late.low)} to {_about(late.high)}" if late.high is not None else f"{_about(late.low)} or more"
    said = (
        f"about {_about(late.estimate)} ({high}) of {late.accepted:,} accepted rows of `{source}` seem to be "
        f"duplicates of events before {late.before}, beyond the window of {format_duration(window)}, and were let in: "
        f"widen `sources.{source}.dedup.window`, and backfill the days that hold them"
    )
    return worst((*verdict.findings, Finding(RULE, Status.WARNED, said, observed=late.estimate, rows=late.estimate)))


def _about(rows: int) -> str:
    return f"{float(f'{rows:.2g}'):,.0f}"
