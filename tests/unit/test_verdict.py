import itertools

from hypothesis import given
from hypothesis import strategies as st

from raypipe.verdict import Finding, Status, Verdict, worst

FINDINGS = st.lists(st.sampled_from(Status).map(lambda s: Finding("rule", s, f"because {s}")), max_size=6)


def test_judging_nothing_is_insufficient_and_does_not_pass():
    assert worst([]).status is Status.INSUFFICIENT
    assert not worst([]).lets_pass


@given(FINDINGS, FINDINGS)
def test_a_further_finding_never_makes_a_verdict_better(some, more):
    if some:
        assert worst([*some, *more]).status.rank >= worst(some).status.rank


@given(FINDINGS)
def test_the_order_of_findings_does_not_matter(findings):
    ranks = {worst(p).status.rank for p in itertools.islice(itertools.permutations(findings), 24)}
    assert len(ranks) == 1


def test_only_passes_warnings_quarantine_and_not_applicable_let_work_go_on():
    passing = {s for s in Status if s.lets_pass}
    assert passing == {Status.NOT_APPLICABLE, Status.PASSED, Status.SAFE, Status.WARNED, Status.QUARANTINED}


def test_the_sentence_gives_the_reasons_of_the_worst_findings_alone():
    verdict = worst(
        [Finding("a", Status.PASSED, "a is fine"), Finding("b", Status.FAILED, "b is 1, at least 2 is required")]
    )
    assert verdict.sentence() == "FAILED: b is 1, at least 2 is required"
    assert Verdict(Status.PASSED).sentence() == "PASSED"
