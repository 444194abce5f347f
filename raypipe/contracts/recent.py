"""Whether a stream may go on: the gate over its newest messages.

A stream has no end at which to judge all of it, and one bad message among the first three is no reason to stop. So the
share of dead letters is taken over the newest batches that together hold at least `WINDOW` messages, and as long as
fewer were read, as if the others had been good. Knows counts and a limit; does not know messages.
"""

from __future__ import annotations

from functools import reduce

from raypipe.contracts.gate import GateEvidence
from raypipe.contracts.source import HaltWhen
from raypipe.verdict import Finding, Status, Verdict, worst

WINDOW = 1_000
"""How many messages are judged together at least: a rate of 5 % is then told from one of 6.8 % (two sigma)."""

Recent = tuple[GateEvidence, ...]
"""The counts of the newest batches, oldest first."""


def judge_recent(recent: Recent, batch: GateEvidence, limits: HaltWhen, source: str) -> tuple[Verdict, Recent]:
    """Return what becomes of a batch that is not committed yet, and what is recent if it is.

    HALTED where more of the newest messages are dead letters than the limit allows, else QUARANTINED or PASSED.

    Parameters
    ----------
    recent
        What was returned with the batch before.
    """
    newest = (*recent, batch)
    while sum(e.rows for e in newest[1:]) >= WINDOW:
        newest = newest[1:]
    counts = reduce(GateEvidence.merge, newest)
    judged = max(counts.rows, WINDOW)
    rate, limit = counts.dead_letters / judged, limits.dead_letter_rate
    most = sorted(counts.by_reason, key=lambda r: (-r[1], r[0]))[:3]
    said = (
        f"{counts.dead_letters} of the newest {counts.rows} messages of `{source}` were refused"
        f"{''.join(f', {reason}: {n}' for reason, n in most)}, the limit is {limit * 100:.3g} % of at least {WINDOW}"
    )
    if rate > limit:
        advice = f": fix what writes them, or raise sources.{source}.halt_when.dead_letter_rate"
        return worst([Finding("dead_letter_rate", Status.HALTED, said + advice, observed=rate, limit=limit)]), newest
    status = Status.QUARANTINED if counts.dead_letters else Status.PASSED
    return worst([Finding("dead_letter_rate", status, said, observed=rate, limit=limit)]), newest
