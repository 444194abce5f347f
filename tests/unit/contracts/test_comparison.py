"""Every operator of the standard compares as its words say, and a rule has exactly one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.contracts.comparison import Comparison, Operator, read_comparison
from raypipe.contracts.document import read_document
from raypipe.errors import ContractError

numbers = st.integers(-5, 5) | st.floats(-5, 5)
MEANING = {
    Operator.MUST_BE: lambda value, limit: value == limit,
    Operator.MUST_NOT_BE: lambda value, limit: value != limit,
    Operator.GREATER: lambda value, limit: value > limit,
    Operator.AT_LEAST: lambda value, limit: value >= limit,
    Operator.LESS: lambda value, limit: value < limit,
    Operator.AT_MOST: lambda value, limit: value <= limit,
}


@pytest.mark.parametrize("operator", MEANING)
@given(numbers, numbers)
def test_an_operator_with_one_limit_compares_with_it(operator, value, limit):
    assert Comparison(operator, (limit,)).holds(value) == MEANING[operator](value, limit)


@given(numbers, numbers, numbers)
def test_between_includes_both_ends_and_its_contrary_is_all_the_rest(value, one, other):
    ends = (min(one, other), max(one, other))
    assert Comparison(Operator.BETWEEN, ends).holds(value) == (ends[0] <= value <= ends[1])
    assert Comparison(Operator.NOT_BETWEEN, ends).holds(value) != Comparison(Operator.BETWEEN, ends).holds(value)


def test_no_number_that_is_none_holds():
    nan = float("nan")
    assert not any(
        Comparison(o, (0.0,) * o.limits).holds(nan) for o in (*MEANING, Operator.BETWEEN) if o != "mustNotBe"
    )


def read(**stated):
    return read_comparison(stated, read_document("rule:\n  a: 1\n", "x.yaml").at("rule"))


def test_a_stated_operator_is_read_with_its_limits():
    assert read(mustBeBetween=[1, 2]) == Comparison(Operator.BETWEEN, (1, 2))
    assert read(mustBe=0, unit="rows") == Comparison(Operator.MUST_BE, (0,))


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({}, "exactly one operator, and it has none"),
        ({"mustBe": 0, "mustNotBe": 1}, "it has mustBe, mustNotBe"),
        ({"mustBe": "0"}, "`mustBe` is '0': write a number"),
        ({"mustBe": True}, "`mustBe` is True: write a number"),
        ({"mustBeLessThan": float("inf")}, "write a number"),
        ({"mustBeBetween": [1]}, "write two numbers"),
        ({"mustNotBeBetween": [2, 1]}, "the smaller number first"),
        ({"mustBe": [1, 2]}, "write a number"),
    ],
)
def test_what_compares_with_nothing_is_refused(stated, said):
    with pytest.raises(ContractError) as caught:
        read(**stated)
    assert said in caught.value.message
    assert caught.value.message.startswith("x.yaml:1: ")
