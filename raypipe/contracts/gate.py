"""Whether a generation of a source may enter the lake: all of it, all but its bad rows, or none.

Knows counts and limits. Does not know rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from raypipe.contracts.checks import Checked
from raypipe.contracts.rows import RawRows
from raypipe.contracts.source import HaltWhen
from raypipe.contracts.table_rules import TableRule, judge_rules
from raypipe.verdict import Finding, Status, Verdict, worst


@dataclass(frozen=True, slots=True)
class GateEvidence:
    """What happened to the rows of some objects. A mergeable value: counts that add up.

    Parameters
    ----------
    objects
        Objects looked at.
    unreadable
        Those of them that could not be opened; how many rows they hold is not known.
    rows
        Rows in the others: `accepted + dead_letters + duplicates`.
    accepted
        Rows that keep the contract and are new.
    dead_letters
        Rows that were refused or malformed.
    duplicates
        Rows that keep the contract but whose event is already in the lake.
    by_reason
        How often each reason was given, in order of its name; a row may have several.
    warned
        How many rows each warning concerns, in order of its name. They were accepted, or are duplicates.
    breaking
        In how many objects each breaking change of the schema arrived, in order of its name.
    measured
        What the table rules measured on all accepted rows, by name and in the rules' order; parts have none.
    """

    objects: int = 0
    unreadable: int = 0
    rows: int = 0
    accepted: int = 0
    dead_letters: int = 0
    duplicates: int = 0
    by_reason: tuple[tuple[str, int], ...] = ()
    warned: tuple[tuple[str, int], ...] = ()
    breaking: tuple[tuple[str, int], ...] = ()
    measured: tuple[tuple[str, float | None], ...] = ()

    def merge(self, other: GateEvidence) -> GateEvidence:
        """Return the evidence of both, which are parts: associative, commutative, `GateEvidence()` changes nothing."""
        return GateEvidence(
            objects=self.objects + other.objects,
            unreadable=self.unreadable + other.unreadable,
            rows=self.rows + other.rows,
            accepted=self.accepted + other.accepted,
            dead_letters=self.dead_letters + other.dead_letters,
            duplicates=self.duplicates + other.duplicates,
            by_reason=_sum(self.by_reason, other.by_reason),
            warned=_sum(self.warned, other.warned),
            breaking=_sum(self.breaking, other.breaking),
        )

    def without_duplicates(self, duplicates: int) -> GateEvidence:
        """Return the evidence after that many of the accepted rows turned out to be in the lake already."""
        return replace(self, accepted=self.accepted - duplicates, duplicates=self.duplicates + duplicates)

    def with_measured(self, measured: Mapping[str, float | None]) -> GateEvidence:
        """Return the evidence of the whole generation, with what its table rules measured."""
        return replace(self, measured=tuple(measured.items()))


def _sum(one: tuple[tuple[str, int], ...], other: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    counts = Counter(dict(one))
    counts.update(dict(other))
    return tuple(sorted(counts.items()))


def observe(raw: RawRows, checked: Checked) -> GateEvidence:
    """Return the evidence of one object that could be opened."""
    reasons = Counter(str(reason) for reason in raw.malformed["reason"].to_pylist())
    reasons.update({f.rule: f.rows for f in checked.findings if f.status is Status.QUARANTINED})
    return GateEvidence(
        objects=1,
        rows=raw.num_rows,
        accepted=checked.accepted.num_rows,
        dead_letters=checked.refused.num_rows + raw.malformed.num_rows,
        by_reason=tuple(sorted(reasons.items())),
        warned=tuple(sorted((f.rule, f.rows) for f in checked.findings if f.status is Status.WARNED)),
        breaking=tuple(sorted((change, 1) for change in checked.breaking)),
    )


def observe_unreadable() -> GateEvidence:
    """Return the evidence of one object that could not be opened."""
    return GateEvidence(objects=1, unreadable=1, by_reason=(("unreadable", 1),))


def judge(evidence: GateEvidence, limits: HaltWhen, source: str, rules: Sequence[TableRule] = ()) -> Verdict:
    """Return what becomes of the generation.

    NOT_APPLICABLE without objects; INSUFFICIENT when they hold no row; HALTED when the share of rows refused, or of
    objects unreadable, is above the limit, or a table rule is broken; QUARANTINED when there are any; WARNED when only
    warnings were found; else PASSED.

    Parameters
    ----------
    evidence
        Of all objects of the generation.
    limits
        What the pipeline allows.
    source
        Its name, for the messages.
    rules
        The contract's table rules; they are judged once they were measured, which needs every accepted row.
    """
    if evidence.objects == 0:
        return worst(
            [Finding("new_objects", Status.NOT_APPLICABLE, f"`{source}` has no new object: nothing to ingest")]
        )
    if evidence.rows == 0 and evidence.unreadable == 0:
        message = f"{evidence.objects} new objects of `{source}` hold no row: check what the source writes"
        return worst([Finding("rows", Status.INSUFFICIENT, message, observed=0)])
    setting, limit = f"sources.{source}.halt_when.dead_letter_rate", limits.dead_letter_rate
    findings = []
    if evidence.rows:
        counted = (evidence.dead_letters, evidence.rows, "rows", "refused")
        findings.append(_share("dead_letter_rate", counted, limit, source, setting, _most(evidence)))
    if evidence.unreadable:
        counted = (evidence.unreadable, evidence.objects, "objects", "unreadable")
        findings.append(_share("unreadable_rate", counted, limit, source, setting, ""))
    findings += [_warning(rule, rows, source) for rule, rows in evidence.warned]
    findings += [_change(change, objects, evidence, limits, source) for change, objects in evidence.breaking]
    if evidence.measured:
        findings += judge_rules(rules, dict(evidence.measured), evidence.accepted, source)
    return worst(findings)


def _warning(rule: str, rows: int, source: str) -> Finding:
    said = f"{rows} rows of `{source}` have the warning {rule} and were let in: look at the source, or at the contract"
    return Finding(rule, Status.WARNED, said, rows=rows)


def _change(change: str, objects: int, evidence: GateEvidence, limits: HaltWhen, source: str) -> Finding:
    said = f"{objects} of {evidence.objects} objects of `{source}` arrived with {change}, which breaks the contract"
    if limits.breaking_change == "quarantine":
        return Finding(change, Status.QUARANTINED, f"{said}: their rows are judged one by one", observed=objects)
    advice = "fix the source, or write a new version of the contract (`raypipe contract diff` says whom it breaks)"
    return Finding(change, Status.HALTED, f"{said}: {advice}", observed=objects, limit=0)


def _share(
    rule: str, counted: tuple[int, int, str, str], limit: float, source: str, setting: str, detail: str
) -> Finding:
    bad, total, noun, what = counted
    rate = bad / total
    said = f"{_percent(rate)} of the {noun} of `{source}` were {what} ({bad} of {total}{detail})"
    if rate > limit:
        status, advice = Status.HALTED, f"the limit is {_percent(limit)}: fix the source, or raise {setting}"
    elif bad:
        status, advice = Status.QUARANTINED, f"the limit is {_percent(limit)}: they are dead letters, the rest goes on"
    else:
        status, advice = Status.PASSED, f"the limit is {_percent(limit)}"
    return Finding(rule, status, f"{said}, {advice}", observed=rate, limit=limit, rows=bad if noun == "rows" else 0)


def _percent(rate: float) -> str:
    return f"{rate * 100:.3g} %"


def _most(evidence: GateEvidence) -> str:
    ranked = sorted(evidence.by_reason, key=lambda r: (-r[1], r[0]))
    return "".join(f", {reason}: {count}" for reason, count in ranked[:3])
