"""What a run staged, kept with its dead letters, so that the events that follow are of the same reading.

Dead letters are committed first. A run that is killed then is finished from what it staged and not from another
reading: with an object that was written over meanwhile, or a contract that was changed, a row could be an event and a
dead letter. Knows files and counts. Does not know rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter

from raypipe.adapters.lake.files import WrittenFile
from raypipe.adapters.lake.tables import LakeTable
from raypipe.contracts.gate import GateEvidence
from raypipe.errors import ContractError

_KEY = "staged"


@dataclass(frozen=True, slots=True)
class KeptStaging:
    """Staged event files in the order of the manifest, with their duplicates, and the counts of the reading.

    Parameters
    ----------
    columns
        The columns that the files were written with, and their types.
    """

    columns: str
    files: tuple[WrittenFile, ...]
    evidence: GateEvidence


_ADAPTER = TypeAdapter(KeptStaging)


def as_metadata(schema: pa.Schema, files: tuple[WrittenFile, ...], evidence: GateEvidence) -> dict[str, object]:
    """Return what the commit of a generation's dead letters carries."""
    plain: Any = _ADAPTER.dump_python(KeptStaging(_columns(schema), files, evidence), mode="json")
    return {_KEY: plain}


def kept_staging(letters: LakeTable, stream: str, generation: int, schema: pa.Schema) -> KeptStaging | None:
    """Return what was staged by the run that committed the dead letters of a generation; None when nobody did.

    Raises
    ------
    ContractError
        When the contract has other columns now.
    """
    if letters.generation(stream) < generation:
        return None
    kept = _ADAPTER.validate_python((letters.metadata(stream) or {})[_KEY])
    if kept.columns != _columns(schema):
        raise ContractError(
            f"generation {generation} of {stream} is half committed under a contract with other columns: take the "
            "change back for one ingest, which finishes it, then make it again",
            key=stream,
        )
    return kept


def staged_files(letters: LakeTable, stream: str) -> tuple[WrittenFile, ...]:
    """Return the event files that the last commit of a stream's dead letters names, under whatever contract."""
    kept = (letters.metadata(stream) or {}).get(_KEY)
    return () if kept is None else _ADAPTER.validate_python(kept).files


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{f.name} {f.type}" for f in schema)
