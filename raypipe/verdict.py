"""One order of judgement for gates, validation and guardrails.

Knows what a finding and a verdict are and which of two is worse. Does not know what was judged.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """The outcome of one judgement, from best to worst.

    | rank | gate        | validation     | guardrail    |
    |------|-------------|----------------|--------------|
    | 0    |             | NOT_APPLICABLE |              |
    | 1    | PASSED      | PASSED         | SAFE         |
    | 2    | WARNED      |                |              |
    | 3    | QUARANTINED |                |              |
    | 4    |             | INSUFFICIENT   | INSUFFICIENT |
    | 5    | HALTED      | FAILED         | HARMFUL      |

    Absence of evidence ranks above every pass: nothing known never becomes "passed".
    """

    NOT_APPLICABLE = "NOT_APPLICABLE"
    PASSED = "PASSED"
    SAFE = "SAFE"
    WARNED = "WARNED"
    QUARANTINED = "QUARANTINED"
    INSUFFICIENT = "INSUFFICIENT"
    HALTED = "HALTED"
    FAILED = "FAILED"
    HARMFUL = "HARMFUL"

    @property
    def rank(self) -> int:
        """Severity, 0 (best) to 5 (worst); statuses of different judges may share one."""
        return _RANK[self]

    @property
    def lets_pass(self) -> bool:
        """Whether work goes on after this status."""
        return self.rank < Status.INSUFFICIENT.rank


_RANK = {
    Status.NOT_APPLICABLE: 0,
    Status.PASSED: 1,
    Status.SAFE: 1,
    Status.WARNED: 2,
    Status.QUARANTINED: 3,
    Status.INSUFFICIENT: 4,
    Status.HALTED: 5,
    Status.FAILED: 5,
    Status.HARMFUL: 5,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule, what it saw, and how bad that is.

    Parameters
    ----------
    rule
        The rule's name, such as `required(dep_delay)` or `auc`.
    status
        How bad it is.
    message
        A sentence with both numbers and the next action.
    observed, limit
        The two numbers, where the rule has them.
    rows
        How many rows it concerns; 0 where it is not about rows.
    """

    rule: str
    status: Status
    message: str
    observed: float | None = None
    limit: float | None = None
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judgement with its reasons."""

    status: Status
    findings: tuple[Finding, ...] = ()

    @property
    def lets_pass(self) -> bool:
        """Whether work goes on."""
        return self.status.lets_pass

    def sentence(self) -> str:
        """Return the status and the messages of the findings that made it so."""
        reasons = [f.message for f in self.findings if f.status.rank == self.status.rank]
        return f"{self.status}: {'; '.join(reasons)}" if reasons else str(self.status)


def worst(findings: Iterable[Finding]) -> Verdict:
    """Return the verdict that is as bad as the worst finding.

    No finding at all is `INSUFFICIENT`: a judge that looked at nothing has not passed anything.

    Examples
    --------
    >>> worst([]).status
    <Status.INSUFFICIENT: 'INSUFFICIENT'>
    >>> ok = Finding("auc", Status.PASSED, "auc is 0.74, at least 0.68 is required", 0.74, 0.68)
    >>> worst([ok, Finding("champion", Status.NOT_APPLICABLE, "there is no champion")]).status
    <Status.PASSED: 'PASSED'>
    """
    found = tuple(findings)
    if not found:
        return Verdict(Status.INSUFFICIENT)
    return Verdict(max((f.status for f in found), key=lambda s: s.rank), found)
