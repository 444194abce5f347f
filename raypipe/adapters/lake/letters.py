"""Dead letters of the lake with what became of each: open, replayed or dropped.

A letter is never changed, so its fate is a row of `letter_fates`, and the last one of a letter counts.
Reads payloads only where they are asked for. Does not know contracts.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import reduce

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from raypipe.adapters.lake.catalog import DEAD_LETTERS, dead_letters_table, letter_fates_table
from raypipe.adapters.lake.store import Store
from raypipe.errors import ConfigError

_PAYLOAD = ("raw", "types")
_OUTLINE = [n for n in DEAD_LETTERS.names if n not in _PAYLOAD]


class Fate(StrEnum):
    """What was decided about a letter."""

    ACCEPTED = "accepted"
    """Replayed: its record is an event."""
    DUPLICATE = "duplicate"
    """Replayed: another record of the lake has its event."""
    DROPPED = "dropped"
    """Given up by a person."""


class LetterStatus(StrEnum):
    """Where a letter stands."""

    OPEN = "open"
    REPLAYED = "replayed"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters; every part that is given must hold.

    Parameters
    ----------
    ids
        Letter ids, or beginnings of which each has one letter. A letter that is named is selected whatever its status.
    sources
        Names of sources, all where empty.
    reason
        One reason in full (`range(wind_speed)`), or its rule alone (`range`, `unreadable`).
    generation
        The ingest generation that refused it.
    since
        The earliest `known_at`.
    status
        Where it stands.
    """

    ids: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    reason: str | None = None
    generation: int | None = None
    since: datetime | None = None
    status: LetterStatus | None = None


class DeadLetters:
    """The dead letters of all sources."""

    def __init__(self, store: Store) -> None:
        self._letters = dead_letters_table(store)
        self._fates = letter_fates_table(store)

    def outlines(self, selection: Selection) -> pl.DataFrame:
        """Return the selected letters in the order of generation, object and row, without their payloads.

        Returns
        -------
        pl.DataFrame
            The columns of `dead_letters` but `raw` and `types`, and `fate` (null: none yet) and `status`.

        Raises
        ------
        ConfigError
            When an id of the selection has no letter, or several.
        """
        read = pl.DataFrame(self._letters.read(_OUTLINE, _where(selection)))
        letters = _with_reason(_in_order(read.unique("letter_id", keep="any")), selection.reason)
        if selection.ids:
            letters = letters.filter(pl.col("letter_id").is_in([_named(letters, i) for i in selection.ids]))
        letters = letters.join(self._last_fates(), on="letter_id", how="left", maintain_order="left")
        standing = pl.col("fate").replace_strict(
            {None: LetterStatus.OPEN, Fate.DROPPED: LetterStatus.DROPPED},
            default=LetterStatus.REPLAYED,
            return_dtype=pl.String,
        )
        letters = letters.with_columns(standing.alias("status"))
        return letters if selection.status is None else letters.filter(pl.col("status") == selection.status)

    def with_payloads(self, outlines: pl.DataFrame) -> pl.DataFrame:
        """Return the letters of `outlines`, in its order, with `raw` and `types`."""
        ids, generations = outlines["letter_id"].to_list(), outlines["generation"].unique().to_list()
        of_them = pc.field("generation").isin(pa.array(generations, pa.int64()))
        of_them &= pc.field("letter_id").isin(pa.array(ids, pa.string()))
        payloads = pl.DataFrame(self._letters.read(["letter_id", *_PAYLOAD], of_them)).unique("letter_id", keep="any")
        return outlines.join(payloads, on="letter_id", how="left", maintain_order="left")

    def history(self, letter_id: str) -> pl.DataFrame:
        """Return what was decided about a letter, first to last, with the columns of `letter_fates`."""
        return pl.DataFrame(self._fates.read(where=pc.field("letter_id") == letter_id)).sort("number")

    def _last_fates(self) -> pl.DataFrame:
        fates = pl.DataFrame(self._fates.read(["letter_id", "number", "fate"]))
        return fates.sort("number").unique("letter_id", keep="last").select("letter_id", "fate")


def _where(selection: Selection) -> pc.Expression | None:
    parts: list[pc.Expression] = []
    if selection.sources:
        parts.append(pc.field("source").isin(list(selection.sources)))
    if selection.generation is not None:
        parts.append(pc.field("generation") == selection.generation)
    if selection.since is not None:
        parts.append(pc.field("known_at") >= selection.since)
    return reduce(operator.and_, parts) if parts else None


def _in_order(letters: pl.DataFrame) -> pl.DataFrame:
    place = pl.col("source_position")
    row = place.str.extract(r"(\d+)$").cast(pl.Int64, strict=False)
    return letters.sort("generation", "source", place.str.replace(r"\d+$", ""), row)


def _with_reason(letters: pl.DataFrame, reason: str | None) -> pl.DataFrame:
    if reason is None:
        return letters
    given = pl.element()
    of_rule = (given == reason) | given.str.starts_with(f"{reason}(") | given.str.starts_with(f"{reason}:")
    return letters.filter(pl.col("reasons").list.eval(of_rule).list.any())


def _named(letters: pl.DataFrame, beginning: str) -> str:
    found: Sequence[str] = letters.filter(pl.col("letter_id").str.starts_with(beginning))["letter_id"].to_list()
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigError(
            f"no dead letter begins with {beginning!r} among the {letters.height} of this selection: "
            "`raypipe dlq list` shows their ids"
        )
    raise ConfigError(f"{len(found)} dead letters begin with {beginning!r}: give more of the id, as in {found[0]}")
