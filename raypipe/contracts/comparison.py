"""One number beside what a rule says that it must be: the operators of the Open Data Contract Standard.

Knows numbers. Does not know what was counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from raypipe.contracts.document import Place


class Operator(StrEnum):
    """How a number is compared."""

    MUST_BE = "mustBe"
    MUST_NOT_BE = "mustNotBe"
    GREATER = "mustBeGreaterThan"
    AT_LEAST = "mustBeGreaterOrEqualTo"
    LESS = "mustBeLessThan"
    AT_MOST = "mustBeLessOrEqualTo"
    BETWEEN = "mustBeBetween"
    NOT_BETWEEN = "mustNotBeBetween"

    @property
    def limits(self) -> int:
        """How many limits it has."""
        return 2 if self in (Operator.BETWEEN, Operator.NOT_BETWEEN) else 1


@dataclass(frozen=True, slots=True)
class Comparison:
    """An operator and its limits.

    Parameters
    ----------
    operator
        How the number is compared.
    limits
        One number, or the least and the greatest that are between; both ends are.

    Examples
    --------
    >>> Comparison(Operator.BETWEEN, (1, 2)).holds(2)
    True
    >>> print(Comparison(Operator.NOT_BETWEEN, (1, 2)))
    mustNotBeBetween 1 and 2
    """

    operator: Operator
    limits: tuple[int | float, ...]

    def __str__(self) -> str:
        return f"{self.operator} {' and '.join(f'{limit:g}' for limit in self.limits)}"

    def holds(self, value: float) -> bool:
        """Return whether the number is as it must be."""
        first, last = self.limits[0], self.limits[-1]
        match self.operator:
            case Operator.MUST_BE:
                return value == first
            case Operator.MUST_NOT_BE:
                return value != first
            case Operator.GREATER:
                return value > first
            case Operator.AT_LEAST:
                return value >= first
            case Operator.LESS:
                return value < first
            case Operator.AT_MOST:
                return value <= first
            case Operator.BETWEEN:
                return first <= value <= last
            case Operator.NOT_BETWEEN:
                return not first <= value <= last
            case _:
                assert_never(self.operator)


ZERO = Comparison(Operator.MUST_BE, (0,))
"""What single rows can keep: none of them breaks the rule."""


def read_comparison(stated: Mapping[str, object], place: Place) -> Comparison:
    """Return the comparison that a rule states.

    Parameters
    ----------
    stated
        The operators that the rule has, by name; others of its keys may be among them.
    place
        The rule.

    Raises
    ------
    ContractError
        Unless there is exactly one operator, with one finite number or two in order.
    """
    found = [o for o in Operator if stated.get(o) is not None]
    if len(found) != 1:
        said = f"it has {', '.join(found)}" if found else "it has none"
        raise place.error(f"a rule has exactly one operator, and {said}: write one of {', '.join(Operator)}")
    (operator,) = found
    value = stated[operator]
    limits = tuple(value) if isinstance(value, list) and operator.limits == 2 else (value,)
    if len(limits) != operator.limits or not all(map(_is_number, limits)):
        wanted = "two numbers" if operator.limits == 2 else "a number"
        raise place.at(operator).error(f"`{operator}` is {value!r}: write {wanted}")
    if operator.limits == 2 and limits[0] > limits[1]:
        raise place.at(operator).error(f"`{operator}` is {value!r}: write the smaller number first")
    return Comparison(operator, limits)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
