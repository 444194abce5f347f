"""Small files of a table become few, in one commit that changes no row.

Whatever else is written meanwhile goes on: rows that are added are not touched, and who takes files away takes the
table's turn, after which this looks again. Knows files; does not know what the rows mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raypipe.adapters.lake.files import DataFile, WrittenFile
from raypipe.adapters.lake.tables import LakeTable
from raypipe.adapters.stream_compact import compacted
from raypipe.adapters.upkeep_plan import merges
from raypipe.errors import GenerationMoved

# A stream commits about every second, and files that it left alone need not be written again.
_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class Compaction:
    """What of one table is written anew.

    Parameters
    ----------
    table
        Its name.
    turn, number
        The table's turn that this holds for, and the number of the last compaction.
    groups
        Files that each become one.
    """

    table: str
    turn: int
    number: int
    groups: tuple[tuple[DataFile, ...], ...]

    @property
    def files(self) -> tuple[DataFile, ...]:
        """All that leave."""
        return tuple(f for group in self.groups for f in group)


def plan(table: LakeTable) -> Compaction:
    """Return what of the table is worth writing anew; its groups may be none."""
    found = table.standing([_app(table)])
    files = table.files(found.version) if found.version >= 0 else ()
    return Compaction(table.name, found.turn, found.numbers[_app(table)], tuple(tuple(g) for g in merges(files)))


def apply(table: LakeTable, compaction: Compaction) -> Compaction:
    """Return what was written anew; nothing where others came first each time, which leaves it for the next upkeep."""
    done: dict[tuple[DataFile, ...], WrittenFile] = {}
    for _ in range(_ATTEMPTS):
        if not compaction.groups:
            break
        for group in compaction.groups:
            if group not in done:
                done[group] = compacted(table, group)
        if _committed(table, compaction, [done[g] for g in compaction.groups]):
            return compaction
        compaction = _still(table, compaction)
    return Compaction(table.name, compaction.turn, compaction.number, ())


def _committed(table: LakeTable, compaction: Compaction, files: Sequence[WrittenFile]) -> bool:
    try:
        table.commit(
            files,
            app_id=_app(table),
            generation=compaction.number + 1,
            removed=compaction.files,
            turn=compaction.turn,
            data_change=False,
        )
    except GenerationMoved:
        return False
    return True


def _still(table: LakeTable, compaction: Compaction) -> Compaction:
    """Return the groups of which the table has every file now."""
    found = table.standing([_app(table)])
    there = set(table.files(found.version))
    groups = tuple(g for g in compaction.groups if there.issuperset(g))
    return Compaction(table.name, found.turn, found.numbers[_app(table)], groups)


def _app(table: LakeTable) -> str:
    # The application id under which a stream merges its own files: the two never do it at once.
    return f"compact/{table.name.removeprefix('events/')}"
