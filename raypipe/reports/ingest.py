"""The quality report of one generation of a source, as one value: its JSON is this model, its page is drawn from it.

Knows counts, findings and what may be shown of a value. Does not know where a report is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

from raypipe.contracts.contract import Contract
from raypipe.contracts.gate import GateEvidence
from raypipe.contracts.generation import Generation
from raypipe.contracts.generation_profile import ColumnSummary
from raypipe.contracts.letter_sample import LetterSample, SampledLetter
from raypipe.reports.masking import masked_column, masked_record, public_columns
from raypipe.spec import Spec
from raypipe.verdict import Finding, Status, Verdict

_SHOWN_GENERATIONS = 30


class ShownLetter(Spec):
    """One refused record, as far as it may be shown."""

    position: str
    """Where it came from."""
    values: dict[str, str] | None
    """By column: JSON of the value, or of a masked one what kind it is; None where the text has no columns."""
    characters: int
    """Length of the record as it arrived."""


class Reason(Spec):
    """Why rows were refused."""

    reason: str
    rows: int
    letters: tuple[ShownLetter, ...]
    """Some of them, chosen by a hash of their positions."""


class ShownColumn(Spec):
    """One column of the rows that keep the contract."""

    name: str
    type: str
    public: bool
    """Whether its values may be shown; otherwise `summary` has none."""
    summary: ColumnSummary


class PastGeneration(Spec):
    """One generation before this one, or itself."""

    generation: int
    at: datetime
    verdict: Status
    rows: int
    dead_letters: int
    duplicates: int
    null_rates: dict[str, float]
    """Share of nulls of each column, 0..1."""


class IngestReport(Spec):
    """What became of one generation of a source."""

    report: Literal["raypipe.ingest/1"] = "raypipe.ingest/1"
    """Kind and version of this document."""
    source: str
    generation: int
    at: datetime
    contract_version: str
    contract_digest: str
    verdict: Status
    sentence: str
    """The verdict in words, with its reasons."""
    committed: bool
    """Whether the accepted rows are in the lake."""
    counts: GateEvidence
    findings: tuple[Finding, ...]
    """The worst first."""
    reasons: tuple[Reason, ...]
    columns: tuple[ShownColumn, ...]
    history: tuple[PastGeneration, ...]
    """The oldest first; this generation is the last."""


def ingest_report(
    source: str,
    contract: Contract,
    now: Generation,
    verdict: Verdict,
    letters: LetterSample,
    before: Sequence[Generation],
) -> IngestReport:
    """Return the report of a generation.

    Parameters
    ----------
    verdict
        Of all its gates.
    letters
        Some of its dead letters.
    before
        The generations before it, the oldest first.
    """
    public = public_columns(contract)
    return IngestReport(
        source=source,
        generation=now.number,
        at=now.at,
        contract_version=contract.version,
        contract_digest=contract.digest,
        verdict=verdict.status,
        sentence=verdict.sentence(),
        committed=verdict.status is not Status.HALTED,
        counts=now.counts,
        findings=tuple(sorted(verdict.findings, key=lambda f: -f.status.rank)),
        reasons=_reasons(now.counts, letters, public),
        columns=_columns(contract, now.columns, public),
        history=tuple(_past(g) for g in (*before, now)[-_SHOWN_GENERATIONS:]),
    )


def _reasons(counts: GateEvidence, letters: LetterSample, public: frozenset[str]) -> tuple[Reason, ...]:
    ranked = sorted(counts.by_reason, key=lambda r: (-r[1], r[0]))
    return tuple(
        Reason(
            reason=reason,
            rows=rows,
            letters=tuple(_letter(x, public) for x in letters.letters if x.reason == reason),
        )
        for reason, rows in ranked
    )


def _letter(letter: SampledLetter, public: frozenset[str]) -> ShownLetter:
    values = masked_record(letter.raw, public)
    return ShownLetter(
        position=letter.position, values=None if values is None else dict(values), characters=letter.characters
    )


def _columns(
    contract: Contract, summaries: Mapping[str, ColumnSummary], public: frozenset[str]
) -> tuple[ShownColumn, ...]:
    return tuple(
        ShownColumn(
            name=f.name,
            type=str(f.type),
            public=f.name in public,
            summary=summaries[f.name] if f.name in public else masked_column(summaries[f.name]),
        )
        for f in contract.fields
        if f.name in summaries
    )


def _past(generation: Generation) -> PastGeneration:
    counts = generation.counts
    return PastGeneration(
        generation=generation.number,
        at=generation.at,
        verdict=generation.verdict,
        rows=counts.rows,
        dead_letters=counts.dead_letters,
        duplicates=counts.duplicates,
        null_rates={n: c.counts.nulls / c.counts.rows for n, c in generation.columns.items() if c.counts.rows},
    )
