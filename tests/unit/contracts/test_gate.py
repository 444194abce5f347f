"""A generation passes, loses its bad rows, or is halted whole; nothing known never passes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.contracts.checks import check
from raypipe.contracts.contract import TIMESTAMP, Contract, Field
from raypipe.contracts.formats import read_rows
from raypipe.contracts.gate import GateEvidence, judge, observe, observe_unreadable
from raypipe.contracts.source import HaltWhen
from raypipe.verdict import Status

FIVE_PERCENT = HaltWhen(dead_letter_rate=0.05)


def evidence(rows, dead, **others):
    return GateEvidence(objects=1, rows=rows, accepted=rows - dead, dead_letters=dead, **others)


def status(found, limits=FIVE_PERCENT):
    return judge(found, limits, "schedules").status


def test_nothing_new_is_not_applicable():
    assert status(GateEvidence()) is Status.NOT_APPLICABLE


def test_objects_without_a_row_are_insufficient():
    verdict = judge(GateEvidence(objects=2), FIVE_PERCENT, "schedules")
    assert verdict.status is Status.INSUFFICIENT
    assert not verdict.lets_pass


def test_clean_rows_pass_and_few_bad_ones_are_set_aside():
    assert status(evidence(100, 0)) is Status.PASSED
    assert status(evidence(100, 5)) is Status.QUARANTINED
    assert status(evidence(100, 6)) is Status.HALTED


def test_a_limit_of_zero_halts_at_the_first_bad_row_and_one_never():
    assert status(evidence(10**9, 1), HaltWhen(dead_letter_rate=0)) is Status.HALTED
    assert status(evidence(3, 3), HaltWhen(dead_letter_rate=1)) is Status.QUARANTINED


def test_a_halt_says_both_numbers_the_reasons_and_what_to_do():
    reasons = (("range(distance)", 3), ("type(scheduled_departure_at)", 120))
    (finding,) = judge(evidence(1000, 123, by_reason=reasons), FIVE_PERCENT, "schedules").findings
    assert finding.message == (
        "12.3 % of the rows of `schedules` were refused (123 of 1000, type(scheduled_departure_at): 120, "
        "range(distance): 3), the limit is 5 %: fix the source, or raise sources.schedules.halt_when.dead_letter_rate"
    )
    assert (finding.observed, finding.limit) == (0.123, 0.05)


def test_an_object_that_cannot_be_opened_does_not_hide_behind_many_rows():
    found = evidence(1_000_000, 0).merge(observe_unreadable())
    assert status(found) is Status.HALTED
    assert status(observe_unreadable()) is Status.HALTED
    assert status(found, HaltWhen(dead_letter_rate=0.5)) is Status.QUARANTINED


def test_evidence_counts_every_row_of_an_object():
    contract = Contract("r", "1", (Field("at", TIMESTAMP, required=True),), ("at",), "at")
    raw = read_rows(b'{"at":"2013-01-01T00:00:00Z"}\n{"at":"no"}\n{"at":\n{}\n', "jsonl")
    found = observe(raw, check(raw, contract))
    assert found == GateEvidence(
        objects=1,
        rows=4,
        accepted=1,
        dead_letters=3,
        by_reason=(("malformed(json)", 1), ("required(at)", 1), ("type(at)", 1)),
    )
    assert found.without_duplicates(1) == GateEvidence(1, 0, 4, 0, 3, 1, found.by_reason)


counts = st.integers(0, 1000)
reason_counts = st.dictionaries(st.sampled_from("abc"), st.integers(1, 9)).map(lambda d: tuple(sorted(d.items())))
some = st.builds(GateEvidence, counts, counts, counts, counts, counts, counts, reason_counts)


@given(some, some, some)
def test_merging_does_not_depend_on_order(a, b, c):
    assert a.merge(b).merge(c) == a.merge(b.merge(c))
    assert a.merge(b) == b.merge(a)
    assert a.merge(GateEvidence()) == a


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(["2013-01-01T00:00:00Z", "no", ""]), min_size=1), st.integers(0, 9))
def test_the_evidence_of_parts_is_the_evidence_of_the_whole(values, cut):
    contract = Contract("r", "1", (Field("at", TIMESTAMP, required=True),), ("at",), "at")

    def seen(texts):
        raw = read_rows(("at,x\n" + "".join(f"{t},1\n" for t in texts)).encode(), "csv")
        return observe(raw, check(raw, contract))

    parts = seen(values[:cut]).merge(seen(values[cut:]))
    assert parts.rows == seen(values).rows == len(values)
    assert parts.by_reason == seen(values).by_reason


def test_one_object_of_another_schema_halts_though_its_rows_are_few():
    many = GateEvidence(objects=100, rows=1000, accepted=999, dead_letters=1)
    changed = many.merge(GateEvidence(objects=1, rows=1, dead_letters=1, breaking=(("other_type(distance)", 1),)))
    verdict = judge(changed, HaltWhen(), "schedules")
    assert verdict.status is Status.HALTED
    assert "1 of 101 objects of `schedules` arrived with other_type(distance)" in verdict.sentence()
    lenient = judge(changed, HaltWhen(breaking_change="quarantine"), "schedules")
    assert lenient.status is Status.QUARANTINED
