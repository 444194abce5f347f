"""What becomes of a manifest that the gate halted: it waits, unread, until it is let in, skipped, or judged anew.

    halt ──accept_halted──▶ its good rows enter, the others are dead letters
      │ ───reject_halted──▶ its objects are skipped for good
      └──contract or limit changed──▶ judged anew

A fold of the decisions of an ingestion stream. Knows decisions; does not know objects or rows.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum

from raypipe.contracts.gate import GateEvidence
from raypipe.contracts.source import HaltWhen
from raypipe.decision import Decision
from raypipe.errors import ConfigError
from raypipe.verdict import Finding, Status, Verdict, worst

ACCEPT, HALT, ACCEPT_HALTED, REJECT_HALTED = "accept", "halt", "accept_halted", "reject_halted"
BACKFILL = "backfill"
"""What an ingestion stream decides."""


class Course(StrEnum):
    """What to do with a manifest that is not committed."""

    JUDGE = "JUDGE"
    WAIT = "WAIT"
    LET_IN = "LET_IN"
    SKIP = "SKIP"


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a person decides about a halted manifest.

    Parameters
    ----------
    source
        Its source; None when only one is halted.
    generation
        The manifest that was looked at.
    accept
        Whether its good rows enter; otherwise its objects are skipped.
    who, why
        For the record.
    """

    source: str | None
    generation: int
    accept: bool
    who: str
    why: str

    @property
    def what(self) -> str:
        """The decision's word."""
        return ACCEPT_HALTED if self.accept else REJECT_HALTED


def basis(generation: int, contract: str, limits: HaltWhen) -> dict[str, object]:
    """Return what a halt of a manifest depends on, as its evidence records it."""
    return {"manifest": generation, "contract": contract, "halt_when": limits.model_dump(mode="json")}


def course(stream: Sequence[Decision], on: Mapping[str, object]) -> tuple[Course, Decision | None]:
    """Return what to do with the manifest, and the decision that says so.

    Parameters
    ----------
    stream
        Decisions of the source, in order.
    on
        The manifest's present `basis`.
    """
    last = stream[-1] if stream else None
    recorded = json.loads(last.evidence) if last else {}
    if last is None or recorded["manifest"] != on["manifest"]:
        return Course.JUDGE, None
    if last.what == REJECT_HALTED:
        return Course.SKIP, last
    # Who let rows in saw them judged by this contract; the limit no longer matters then.
    if last.what == ACCEPT_HALTED and recorded["contract"] == on["contract"]:
        return Course.LET_IN, last
    if last.what == HALT and on.items() <= recorded.items():
        return Course.WAIT, last
    return Course.JUDGE, None


def finished(stream: Sequence[Decision], generation: int) -> bool:
    """Return whether the end of a committed manifest is on record."""
    return any(d.what in (ACCEPT, REJECT_HALTED) and manifest_of(d) >= generation for d in stream)


def manifest_of(decision: Decision) -> int:
    """Return the generation of the manifest that a decision is about."""
    return int(json.loads(decision.evidence)["manifest"])


def counts_of(evidence: Mapping[str, object]) -> GateEvidence:
    """Return the gate's counts from the evidence of a decision, or the metadata of a commit."""
    pairs = ("by_reason", "warned", "breaking")
    measured = tuple((str(r), v) for r, v in evidence.get("measured", ()))  # type: ignore[attr-defined]
    plain = {
        f.name: evidence[f.name]
        for f in fields(GateEvidence)
        if f.name in evidence and f.name not in (*pairs, "measured")
    }
    named = {n: tuple((str(r), int(k)) for r, k in evidence.get(n, ())) for n in pairs}  # type: ignore[attr-defined]
    return GateEvidence(**plain, **named, measured=measured)  # type: ignore[arg-type]


def ways_out(source: str, generation: int) -> Finding:
    """Return the finding that says how a halted manifest is released."""
    command = f"raypipe ingest CONFIG --source {source}"
    said = (
        f"until then it waits: `{command} --accept {generation} --reason TEXT` lets its good rows in, "
        f"`{command} --reject {generation} --reason TEXT` skips its objects for good (corrected ones are new)"
    )
    return Finding("halted", Status.HALTED, said)


def waiting(source: str, halt: Decision) -> Verdict:
    """Return the verdict on a manifest that is still halted and was not read again."""
    generation = manifest_of(halt)
    why = halt.why.removeprefix(f"{Status.HALTED}: ")
    said = f"`{source}` is still halted at generation {generation} since {halt.at:%Y-%m-%d %H:%M:%S}Z: {why}"
    return Verdict(Status.HALTED, (Finding("still_halted", Status.HALTED, said), ways_out(source, generation)))


def let_in(verdict: Verdict, decision: Decision, measured: Collection[str] = ()) -> Verdict:
    """Return the verdict of a manifest that was let in although the gate halts it.

    Parameters
    ----------
    measured
        Table rules that were measured, and comparisons with the past. One that the halt did not know, as it came
        before, nobody has decided about: it halts still.
    """
    if verdict.status is not Status.HALTED:
        return verdict
    said = json.loads(decision.evidence)
    unknown = set(measured) - {name for name, *_ in (*said.get("measured", ()), *said.get("compared", ()))}
    by = f"let in by {decision.who}: {decision.why}"
    return worst(
        replace(f, status=Status.QUARANTINED, message=f"{f.message}; {by}")
        if f.status is Status.HALTED and f.rule not in unknown
        else f
        for f in verdict.findings
    )


def chosen(how: Resolution, halted: Mapping[str, Decision], streams: Mapping[str, Sequence[Decision]]) -> str:
    """Return the source that a resolution is about: halted at its generation, or resolved so before.

    Parameters
    ----------
    halted
        Sources that wait, with their halts.
    streams
        The decisions of every source of the pipeline.

    Raises
    ------
    ConfigError
        When there is no such source, none or several wait, or it is not halted at that generation.
    """
    before = [n for n, s in streams.items() if any(d.what == how.what and manifest_of(d) == how.generation for d in s)]
    if how.source is not None and how.source not in streams:
        raise ConfigError(f"there is no source `{how.source}`: the pipeline has {', '.join(streams)}")
    named = [how.source] if how.source else sorted(halted) or before
    if len(named) > 1:
        raise ConfigError(f"several sources are halted ({', '.join(named)}): say which with --source")
    if not named or not (named[0] in halted or named[0] in before):
        who = f"source `{named[0]}` is not" if named else "no source of this pipeline is"
        raise ConfigError(
            f"{who} halted: nothing waits to be accepted or rejected; after a change of its contract or its limit the "
            "next run judges anew"
        )
    source = named[0]
    if source in halted and (found := manifest_of(halted[source])) != how.generation:
        raise ConfigError(
            f"generation moved: expected {how.generation}, found {found} of ingest/{source}: look at why that one is "
            f"halted ({halted[source].why}), then name it"
        )
    return source
