"""Sums of float64 that do not depend on order, nor on what else was summed along the way.

A window's sum is a difference of two running sums. In floating point that difference would carry the rounding of
everything before the window, so the same window would come out differently in another slice of the data. Here a
value is cut into digits of base 2**32 held as integers; integer sums are exact, and so are their differences.
After J. Demmel and Y. Hida, "Accurate and efficient floating point summation", SIAM J. Sci. Comput. 25 (2004), whose
fixed-point accumulator this is, with as many digits as the data need (one for counts and small integers, mostly three
for measurements). Knows numbers only.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_BITS = 32
_MASK = (1 << _BITS) - 1


def split(values: Floats) -> dict[int, Integers]:
    """Return digits d with `values == sum(d[k] * 2**(32 k))` exactly and every |d[k]| below 2**32.

    Up to 2**31 digits of one place can be added in an int64.

    Parameters
    ----------
    values
        Finite, any shape.

    Examples
    --------
    >>> split(np.array([1.0, 2.5]))
    {0: array([1, 2]), -1: array([         0, 2147483648])}
    """
    digits: dict[int, Integers] = {}
    rest = values.astype(np.float64)
    while largest := float(np.abs(rest).max(initial=0.0)):
        place = int(np.frexp(largest)[1] - 1) // _BITS
        whole = np.trunc(np.ldexp(rest, -_BITS * place))
        digits[place] = whole.astype(np.int64)
        rest = rest - np.ldexp(whole, _BITS * place)
    return digits


def join(digits: dict[int, Integers], size: int) -> Floats:
    """Return the float64 values of summed digits, right to within two units in the last place.

    The result depends only on the exact sum: bit for bit the same whichever values made it, and in any company.
    Sums beyond 2**1022 may come out infinite.

    Parameters
    ----------
    digits
        Place to sums of digits of that place; shape (size,), int64.
    """
    if not digits:
        return np.zeros(size)
    low, high = min(digits), max(digits)
    nothing = np.zeros(size, np.int64)
    normal, carry = [], nothing
    for place in range(low, high):
        digit = digits.get(place, nothing) + carry
        normal.append((place, digit & _MASK))
        carry = digit >> _BITS
    # Downwards: all but the highest are now positive, so a partial sum never cancels below the digit just added.
    with np.errstate(over="ignore"):
        total: Floats = np.ldexp((digits[high] + carry).astype(np.float64), _BITS * high)
        for place, digit in reversed(normal):
            total += np.ldexp(digit.astype(np.float64), _BITS * place)
    return total
