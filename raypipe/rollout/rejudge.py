"""Recorded evidence judged under another spec: what would have been said, and when.

Knows evidence as it was recorded; does not know where, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from raypipe.rollout.evidence import Evidence
from raypipe.rollout.guardrails import Guardrail, counted_as, key_of
from raypipe.rollout.judge import judge_all
from raypipe.rollout.spec import ReleaseSpec
from raypipe.verdict import Finding, Status


@dataclass(frozen=True, slots=True)
class Look:
    """Evidence as it was known at one moment, aware UTC."""

    at: datetime
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Rejudged:
    """What a guardrail says to recorded evidence.

    Parameters
    ----------
    guardrail
        As the other spec has it.
    finding
        What it says to all of the evidence.
    harmful_at, safe_at
        The first look at which it said so; None where it never did. Evidence after a rollout's end is not there: a
        stricter spec shows whether it would have ended earlier, a laxer one only what was known at the end.
    """

    guardrail: Guardrail
    finding: Finding
    harmful_at: datetime | None
    safe_at: datetime | None


def rejudge(spec: ReleaseSpec, looks: Sequence[Look], *, counted_under: ReleaseSpec) -> tuple[Rejudged, ...]:
    """Return what each guardrail of `spec` says to what was recorded in a rollout.

    Parameters
    ----------
    looks
        In the order of time; each may hold any part of the evidence, which is merged.
    counted_under
        The rollout's own spec. Where it counted something else for a guardrail, such as differences with another cap,
        or did not have it, that guardrail is INSUFFICIENT: nothing is known that it could be judged on.
    """
    # Who was kept on one arm is settled.
    spec = spec.model_copy(update={"unit": counted_under.unit})
    known = Evidence()
    first: dict[tuple[str, Status], datetime] = {}
    findings = judge_all(spec, known)
    for look in looks:
        known = known.merge(look.evidence)
        findings = judge_all(spec, known)
        for guardrail, finding in findings:
            first.setdefault((key_of(guardrail), finding.status), look.at)
    counted = {key_of(g): counted_as(g) for g in counted_under.guardrails}
    return tuple(_rejudged(g, f, first, counted) for g, f in findings)


def _rejudged(
    guardrail: Guardrail,
    finding: Finding,
    first: dict[tuple[str, Status], datetime],
    counted: dict[str, tuple[object, ...]],
) -> Rejudged:
    key, settings = key_of(guardrail), counted_as(guardrail)
    # Errors are counted in every rollout.
    if settings and counted.get(key) != settings:
        had = f"with {_words(counted[key])}, and {_words(settings)} is asked for" if key in counted else "not at all"
        message = f"{key}: the rollout counted it {had}: recorded evidence cannot tell"
        return Rejudged(guardrail, Finding(key, Status.INSUFFICIENT, message), None, None)
    return Rejudged(guardrail, finding, first.get((key, Status.HARMFUL)), first.get((key, Status.SAFE)))


def _words(settings: tuple[object, ...]) -> str:
    return ", ".join(str(s) for s in settings)
