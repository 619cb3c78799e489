"""Sums of squares of whole numbers, exact: as sums of digits, each of which 64 bits hold.

The square of a number of 64 bits has up to 127, and sums of such have more. So what is added up
are digits of 32 bits: as long as there are fewer than 2³¹ numbers no sum of digits overflows, and
however the numbers come in batches and orders, the sums are the same whole numbers.

>>> amounts = np.array([2**62, -5, 7])
>>> sums = {fold: int(digits(amounts, fold).sum()) for fold in DIGITS}
>>> squares = sum(sums[f"square {at}"] << 32 * at for at in range(4))
>>> squares == sum(int(each) ** 2 for each in amounts)
True
"""

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from operators.columns.arrays import Floats, Int64s, UInt64s

Digit = Literal["high", "square 0", "square 1", "square 2", "square 3"]
SQUARES: Final[tuple[Digit, ...]] = ("square 0", "square 1", "square 2", "square 3")
DIGITS: Final[tuple[Digit, ...]] = ("high", *SQUARES)
"""What is added up beside the numbers themselves, whose sum is known but for multiples of 2⁶⁴: the
upper halves of the numbers, and the digits of their squares from the lowest on."""

_HALF: Final = np.uint64(32)
_LOW: Final = np.uint64(2**32 - 1)
_BASE: Final = 2.0**32
_FITS: Final = 2.0**62


def digits(values: Int64s, digit: Digit) -> Int64s:
    """Return a digit of each of n numbers, shape (n,)."""
    if digit == "high":
        return values >> 32
    size, place = np.abs(values).view(np.uint64), SQUARES.index(digit)
    largest = int(size.max(initial=0)) ** 2
    if largest >> 32 * place == 0:
        return np.zeros_like(values)
    if largest < 2**64:
        square = size * size
        return (square >> _HALF if place else square & _LOW).view(np.int64)
    low, high = size & _LOW, size >> _HALF
    return _multiplied([low, high], [low, high])[place].view(np.int64)


def deviations(count: Int64s, total: Int64s, high: Int64s, squares: Sequence[Int64s]) -> Floats:
    """Return the standard deviations of n samples, shape (n,): NaN of fewer than two numbers.

    They are told by how many numbers there are, their sum less any multiple of 2⁶⁴, and the sums
    of their DIGITS. What is under the root is rounded when all whole numbers are at hand.
    """
    found = np.full(len(count), np.nan)
    pairs = count * (count - 1)
    about = squares[0] + _BASE * squares[1]
    small = (squares[2] == 0) & (squares[3] == 0) & (count * about < _FITS)
    rows = np.flatnonzero(small & (count > 1))
    number, whole = count[rows], total[rows]
    spread = number * (squares[0][rows] + (squares[1][rows] << 32)) - whole * whole
    found[rows] = np.sqrt(spread / pairs[rows])
    rows = np.flatnonzero(~small & (count > 1))
    if len(rows):
        wide = _wide(count[rows], total[rows], high[rows], [each[rows] for each in squares])
        found[rows] = np.sqrt(wide / pairs[rows])
    return found


def _wide(count: Int64s, total: Int64s, high: Int64s, squares: Sequence[Int64s]) -> Floats:
    """Return count times the sum of squares less the square of the sum, of numbers of any size."""
    # The sum is what it is modulo 2**64 that is nearest to what its upper half tells.
    low = (total - (high << 32)).view(np.uint64)
    upper = high + (low >> _HALF).view(np.int64)
    low = low & _LOW
    negative = upper < 0
    size: UInt64s = np.where(negative, -upper - (low > 0), upper).view(np.uint64)
    low = np.where(negative, -low & _LOW, low)
    summed = [low, size & _LOW, size >> _HALF]
    none = np.zeros_like(low)
    of_squares = _carried([each.view(np.uint64) for each in squares] + [none, none])
    less = _multiplied(of_squares, [count.view(np.uint64)])
    taken = _multiplied(summed, summed)
    borrow: npt.NDArray[Any] = np.zeros(len(count), np.int64)
    found = np.zeros(len(count))
    for place, each in enumerate(less):
        other = taken[place] if place < len(taken) else none
        left = each.view(np.int64) - other.view(np.int64) + borrow
        borrow = left >> 32
        found += np.ldexp((left & (2**32 - 1)).astype(np.float64), 32 * place)
    return found


def _multiplied(one: Sequence[UInt64s], other: Sequence[UInt64s]) -> list[UInt64s]:
    """Return the digits of products, from the lowest on, as many as both have."""
    found = [np.zeros_like(one[0]) for _ in range(len(one) + len(other))]
    for place, digit in enumerate(other):
        carry = np.zeros_like(one[0])
        for at, each in enumerate(one):
            made = each * digit + found[place + at] + carry
            found[place + at], carry = made & _LOW, made >> _HALF
        found[place + len(one)] = carry
    return found


def _carried(sums: Sequence[UInt64s]) -> list[UInt64s]:
    """Return digits of what sums of digits stand for."""
    found, carry = [], np.zeros_like(sums[0])
    for each in sums:
        made = each + carry
        found.append(made & _LOW)
        carry = made >> _HALF
    return found
