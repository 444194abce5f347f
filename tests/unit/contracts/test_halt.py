"""A halted manifest waits until it is let in, skipped, or judged by another contract or limit."""

from datetime import UTC, datetime

import pytest

from raypipe.contracts.comparison import Comparison, Operator
from raypipe.contracts.gate import GateEvidence, judge
from raypipe.contracts.halt import Course, Resolution, basis, chosen, counts_of, course, finished, let_in, waiting
from raypipe.contracts.source import HaltWhen
from raypipe.contracts.table_rules import RowCount, table_rule
from raypipe.decision import follow
from raypipe.errors import ConfigError
from raypipe.verdict import Status

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIMIT = HaltWhen(dead_letter_rate=0.1)
BAD = GateEvidence(objects=1, rows=10, accepted=5, dead_letters=5, by_reason=(("type(at)", 5),))


def stream(*words, source="s", manifest=3, contract="c", limits=LIMIT):
    found = []
    for what in words:
        evidence = basis(manifest, contract, limits) | {"rows": 10, "by_reason": [["type(at)", 5]]}
        found.append(
            follow(
                found[-1] if found else None,
                stream=f"ingest/{source}",
                at=NOW,
                who="ann",
                what=what,
                why="half is bad",
                evidence=evidence,
            )
        )
    return tuple(found)


def way(decisions, manifest=3, contract="c", limits=LIMIT):
    return course(decisions, basis(manifest, contract, limits))[0]


@pytest.mark.parametrize(
    ("decisions", "on", "expected"),
    [
        ((), {}, Course.JUDGE),
        (stream("accept", manifest=2), {}, Course.JUDGE),
        (stream("halt"), {}, Course.WAIT),
        (stream("halt"), {"contract": "other"}, Course.JUDGE),
        (stream("halt"), {"limits": HaltWhen(dead_letter_rate=0.9)}, Course.JUDGE),
        (stream("halt", "accept_halted"), {}, Course.LET_IN),
        (stream("halt", "accept_halted"), {"limits": HaltWhen(dead_letter_rate=0)}, Course.LET_IN),
        (stream("halt", "accept_halted"), {"contract": "other"}, Course.JUDGE),
        (stream("halt", "reject_halted"), {}, Course.SKIP),
        (stream("halt", "reject_halted"), {"contract": "other"}, Course.SKIP),
        (stream("halt", "reject_halted"), {"manifest": 4}, Course.JUDGE),
    ],
)
def test_what_is_done_follows_from_the_last_decision_and_what_it_was_about(decisions, on, expected):
    assert way(decisions, **on) is expected


def test_the_end_of_a_manifest_is_on_record_only_when_it_was_accepted_or_rejected():
    assert not finished(stream("halt"), 3)
    assert not finished(stream("halt", "accept_halted"), 3)
    assert finished(stream("halt", "accept_halted", "accept"), 3)
    assert finished(stream("halt", "reject_halted"), 3)
    assert not finished(stream("accept", manifest=2), 3)


def test_who_waits_is_told_why_since_when_and_what_to_type():
    verdict = waiting("s", stream("halt")[-1])
    assert verdict.status is Status.HALTED
    assert "`s` is still halted at generation 3 since 2026-01-01 00:00:00Z: half is bad" in verdict.sentence()
    assert "raypipe ingest CONFIG --source s --accept 3 --reason TEXT" in verdict.sentence()


def test_a_manifest_that_was_let_in_is_quarantined_and_says_by_whom():
    verdict = let_in(judge(BAD, LIMIT, "s"), stream("halt", "accept_halted")[-1])
    assert verdict.status is Status.QUARANTINED
    assert verdict.sentence().endswith("let in by ann: half is bad")
    passed = judge(GateEvidence(objects=1, rows=1, accepted=1), LIMIT, "s")
    assert let_in(passed, stream("accept_halted")[-1]) == passed


def test_a_table_rule_that_the_halt_did_not_know_halts_what_was_let_in():
    rule = table_rule(RowCount(), Comparison(Operator.AT_LEAST, (9,)))
    judged = judge(BAD.with_measured({"rowCount": 5}), LIMIT, "s", [rule])
    verdict = let_in(judged, stream("halt", "accept_halted")[-1], ["rowCount"])
    assert verdict.status is Status.HALTED
    assert verdict.sentence().startswith("HALTED: rowCount of `s` is 5 rows")
    assert [f.status for f in verdict.findings] == [Status.QUARANTINED, Status.HALTED]


def resolve(accept=True, source=None, generation=3):
    return Resolution(source, generation, accept, "bob", "looked at it")


def test_the_halted_source_is_chosen_and_the_same_resolution_again_is_no_error():
    one, two = stream("halt"), stream("accept", source="t")
    assert chosen(resolve(), {"s": one[-1]}, {"s": one, "t": two}) == "s"
    done = stream("halt", "accept_halted", "accept")
    assert chosen(resolve(), {}, {"s": done, "t": two}) == "s"


@pytest.mark.parametrize(
    ("how", "halted", "said"),
    [
        (resolve(source="x"), ["s"], "there is no source `x`: the pipeline has s, t"),
        (resolve(), ["s", "t"], r"several sources are halted \(s, t\): say which with --source"),
        (resolve(), [], "no source of this pipeline is halted"),
        (resolve(source="t"), ["s"], "source `t` is not halted"),
        (resolve(generation=2), ["s"], "generation moved: expected 2, found 3 of ingest/s"),
        (resolve(accept=False), [], "halted"),
    ],
)
def test_a_resolution_of_something_else_is_refused_with_what_there_is(how, halted, said):
    streams = {"s": stream("halt"), "t": stream("halt", source="t")}
    with pytest.raises(ConfigError, match=said):
        chosen(how, {n: streams[n][-1] for n in halted}, streams)


def test_counts_survive_the_record():
    kept = {"rows": 10, "accepted": 5, "by_reason": [["type(at)", 5]], "warned": [], "manifest": 3}
    found = counts_of(kept)
    assert (found.rows, found.accepted, found.by_reason, found.warned) == (10, 5, (("type(at)", 5),), ())
