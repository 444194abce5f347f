"""Whether the challenger is slower: in each block of time, who exceeds whose 95th percentile how often.

In a block, `above(a, b)` is the share of the calls of a that took longer than the 95th percentile of b. Without a
difference beyond the margin, a challenger's call less the margin is at most as long as a champion's. Then
above(challenger - margin, champion) and above(champion, challenger - margin) have the same mean, and their difference
has a mean of at most 0: whatever slows both arms in a block, and as often as each has trouble of its own. A percentile
that was estimated from earlier blocks would have neither property.

- The percentile of n calls is put between two of them so that another call of the same distribution exceeds it with
  probability 5 % exactly, whatever the distribution (order statistics: David and Nagaraja 2003, section 2.5). That
  holds where calls are independent given the block; else up to terms of order 1 / n.
- Calls are counted in bins. Where one is cut, harm counts what is surely slower, and safety all that may be.
- One block is one observation, and each unit counts once in it: calls that wait for the same thing, or ask the same,
  are slow together. A share counts at most 25 %, so
  that safety need not be proven against ever worse blocks.

Knows calls of two arms and their seconds; does not know what was called or what is decided.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from raypipe.stats.quantiles import LogHistogram, bin_of
from raypipe.stats.tally import Tally, TallyMeter

SLOW_RATE = 0.05
CAP = 0.25
# From 19 calls on there is one that is exceeded with probability 5 %.
_FEWEST = 20
# Units in a block: some 10 MB; a percentile of so many calls is as exact as bins are.
_MOST = 100_000


@dataclass(frozen=True, slots=True)
class LatencyEvidence:
    """Blocks of calls, and the calls of each arm. Mergeable.

    Parameters
    ----------
    surely, perhaps
        One number for each block, -1..1: the least and the most that the capped share of the challenger's calls above
        the champion's percentile plus the margin, less the reverse, can have been; divided by the cap.
    champion, challenger
        Seconds of the calls in those blocks, for display.
    """

    surely: Tally = field(default_factory=Tally)
    perhaps: Tally = field(default_factory=Tally)
    champion: LogHistogram = field(default_factory=LogHistogram)
    challenger: LogHistogram = field(default_factory=LogHistogram)

    def merge(self, other: LatencyEvidence) -> LatencyEvidence:
        """Return the blocks of both; associative and commutative, and `LatencyEvidence()` changes nothing."""
        return LatencyEvidence(
            self.surely.merge(other.surely),
            self.perhaps.merge(other.perhaps),
            self.champion.merge(other.champion),
            self.challenger.merge(other.challenger),
        )


def block_excess(champion: LogHistogram, challenger: LogHistogram, margin_s: float) -> tuple[float, float]:
    """Return the least and the most by which the challenger exceeds the champion in one block, -1..1.

    Parameters
    ----------
    champion, challenger
        Seconds of calls in the block, at least 19 of each.
    margin_s
        What the challenger may take longer, in seconds.

    Examples
    --------
    >>> steady = LogHistogram.of([0.010] * 95 + [0.020] * 5)
    >>> slower = LogHistogram.of([0.018] * 90 + [0.030] * 10)
    >>> [round(block_excess(steady, other, 0.005)[0], 2) for other in (slower, steady)]
    [0.58, -0.38]
    """
    ours = [min(_above(challenger, champion, margin_s, sure=sure), CAP) for sure in (True, False)]
    theirs = [min(_above(champion, challenger, -margin_s, sure=sure), CAP) for sure in (True, False)]
    return (ours[0] - theirs[1]) / CAP, (ours[1] - theirs[0]) / CAP


class LatencyMeter:
    """Counts `LatencyEvidence` call by call, in memory that does not grow; lives in one thread of one replica.

    Parameters
    ----------
    margin_s, block_s
        What the challenger may take longer, and how long a block is at least, in seconds.
    """

    __slots__ = ("_all", "_block", "_block_s", "_margin_s", "_perhaps", "_since", "_surely", "_units")

    def __init__(self, margin_s: float, block_s: float) -> None:
        self._margin_s, self._block_s = margin_s, block_s
        self._block: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self._all: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self._since: float | None = None
        self._units: set[tuple[str, bool]] = set()
        self._surely, self._perhaps = TallyMeter(), TallyMeter()

    def call(self, *, unit: str, challenger: bool, seconds: float, now_s: float) -> None:
        """Count one call that ended at `now_s`, on a clock that never goes back; of each unit and arm the first in a
        block.

        A block ends with the first call after its time, once both arms have had 20 calls in it; a block that is not
        complete is no evidence yet. Which calls a block has does not depend on how long they took.
        """
        if self._since is None:
            self._since = now_s
        if now_s - self._since >= self._block_s and min(sum(arm.values()) for arm in self._block) >= _FEWEST:
            self._close()
            self._since = now_s
        if (unit, challenger) in self._units or len(self._units) >= _MOST:
            return
        self._units.add((unit, challenger))
        arm, place = self._block[challenger], bin_of(seconds)
        arm[place] = arm.get(place, 0) + 1

    def evidence(self) -> LatencyEvidence:
        """Return all blocks that are complete."""
        champion, challenger = (LogHistogram(dict(arm)) for arm in self._all)
        return LatencyEvidence(self._surely.tally(), self._perhaps.tally(), champion, challenger)

    def _close(self) -> None:
        champion, challenger = (LogHistogram(arm) for arm in self._block)
        surely, perhaps = block_excess(champion, challenger, self._margin_s)
        self._surely.add(surely)
        self._perhaps.add(perhaps)
        for arm, block in zip(self._all, self._block, strict=True):
            for place, count in block.items():
                arm[place] = arm.get(place, 0) + count
        self._block, self._units = ({}, {}), set()


def _above(calls: LogHistogram, of: LogHistogram, more_s: float, *, sure: bool) -> float:
    """Return which share of `calls` took longer than the percentile of the calls `of`, plus `more_s`."""
    place = (1 - SLOW_RATE) * (of.count + 1)
    rank = math.floor(round(place, 9))
    share = place - rank
    found = 0.0
    for k, part in ((rank, 1 - share), (rank + 1, share)):
        if part > 1e-9:
            least, most = of.edges(of.bin_at(k))
            slow = calls.surely_above(most + more_s) if sure else calls.perhaps_above(least + more_s)
            found += part * slow / calls.count
    return found
