"""A few dead letters for each reason, chosen so that it does not matter how they were split into batches.

A mergeable value. Knows dead letters; does not know what of them may be shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

import polars as pl
import pyarrow as pa

LETTERS_PER_REASON = 5
LONGEST_RAW = 4000
"""Characters of a letter that are kept; of a longer one, none is."""


@dataclass(frozen=True, slots=True, order=True)
class SampledLetter:
    """One dead letter under one of its reasons.

    Parameters
    ----------
    reason
        Without what only says which object it was, as in `unreadable: ...`.
    letter_id
        Its identity in the table of dead letters.
    position
        Where it came from.
    raw
        The record as it arrived; None when it is longer than `LONGEST_RAW`.
    characters
        Length of the record.
    """

    reason: str
    letter_id: str
    position: str
    raw: str | None
    characters: int


@dataclass(frozen=True, slots=True)
class LetterSample:
    """For each reason the letters with the smallest ids, in order of reason and id. Ids are hashes of positions."""

    letters: tuple[SampledLetter, ...] = ()

    @staticmethod
    def of(letters: pa.Table) -> LetterSample:
        """Return the sample of rows of the table of dead letters."""
        if not letters.num_rows:
            return LetterSample()
        frame = pl.DataFrame(letters.select(["letter_id", "raw", "reasons", "source_position"])).with_row_index("row")
        reason = pl.col("reasons").str.split_exact(": ", 1).struct.field("field_0").alias("reason")
        chosen = (
            frame.select("row", "letter_id", "reasons")
            .explode("reasons")
            .select("row", "letter_id", reason)
            .unique(["row", "reason"])
            .group_by("reason")
            .agg(pl.col("row").bottom_k_by("letter_id", LETTERS_PER_REASON))
            .explode("row")
        )
        texts = frame[chosen["row"]].select("letter_id", "source_position", "raw").rows()
        return _bounded(
            [
                SampledLetter(why, name, position, raw if len(raw) <= LONGEST_RAW else None, len(raw))
                for why, (name, position, raw) in zip(chosen["reason"].to_list(), texts, strict=True)
            ]
        )

    def merge(self, other: LetterSample) -> LetterSample:
        """Return the sample of both; associative, and `LetterSample()` changes nothing."""
        return _bounded([*self.letters, *other.letters])


def _bounded(letters: list[SampledLetter]) -> LetterSample:
    kept: list[SampledLetter] = []
    for _, group in groupby(sorted(set(letters), key=attrgetter("reason", "letter_id")), attrgetter("reason")):
        kept += list(group)[:LETTERS_PER_REASON]
    return LetterSample(tuple(kept))
