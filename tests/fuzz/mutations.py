"""Mutations: good payloads made bad in every way that we know of, the same ones for a seed."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from ops.simulate.troubles import UNKNOWN_ID

Rng = np.random.Generator
Mutation = Callable[[bytes, bytes, int, int, int], bytes | None]
"""Makes one of a payload and another one, with three numbers of 31 bits to choose by."""

_HEAD: Final = 5
_BYTES: Final = (0, 1, 2, 3, 4, 5, 0x0F, 0x10, 0x3F, 0x40, 0x7F, 0x80, 0xC3, 0xED, 0xFE, 0xFF)
_LENGTHS: Final = (
    b"\xfe\xff\xff\xff\x0f",  # the most an int may be
    b"\xff\xff\xff\xff\x0f",  # the least
    b"\xfe" + b"\xff" * 8 + b"\x01",
    b"\xff" * 9 + b"\x01",
    b"\xff" * 9 + b"\x7f",  # past 64 bits
    b"\x80" * 10 + b"\x00",  # of eleven bytes
    b"\x80\x80\x00",  # padded
    b"\x80\x80\x80\x80\x10",
    b"\xfe\xff\xff\x7f",
)
_TEXTS: Final = (
    b"\xff\xfe",
    b"\xc3\x28",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xc0\x80",
    b"\xe2\x82",
)
_EXTREMES: Final = (
    b"\x00" * 8, b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\x80" + b"\x00" * 7,
    b"\x00\x00\x00\x00\x00\x00\xf8\x7f", b"\x01\x00\x00\x00\x00\x00\xf0\xff",
)  # fmt: skip


def _at(value: bytes, luck: int) -> int:
    return _HEAD + luck % max(len(value) - _HEAD, 1)


def _flip(value: bytes, _: bytes, one: int, two: int, three: int) -> bytes:
    made = bytearray(value)
    for luck in (one, two, three)[: 1 + three % 3]:
        made[_at(value, luck >> 3) % len(made)] ^= 1 << (luck & 7)
    return bytes(made)


def _byte(value: bytes, _: bytes, one: int, two: int, three: int) -> bytes:
    at = _at(value, one)
    return value[:at] + bytes([_BYTES[two % len(_BYTES)]]) * (1 + three % 2) + value[at + 1 :]


def _cut(value: bytes, _: bytes, one: int, two: int, three: int) -> bytes:
    return value[: 1 + one % len(value)]


def _insert(value: bytes, _: bytes, one: int, two: int, three: int) -> bytes:
    at = _at(value, one)
    return value[:at] + two.to_bytes(4, "big")[: 1 + three % 4] + value[at:]


def _delete(value: bytes, _: bytes, one: int, two: int, three: int) -> bytes:
    at = _at(value, one)
    return value[:at] + value[at + 1 + two % 4 :]


def _splice(value: bytes, other: bytes, one: int, two: int, three: int) -> bytes:
    return value[: _at(value, one)] + other[_at(other, two) :]


def _schema(value: bytes, other: bytes, one: int, two: int, three: int) -> bytes:
    """Another payload's body under this one's id."""
    return value[:_HEAD] + other[_HEAD:]


def _length(value: bytes, _: bytes, one: int, two: int, three: int) -> bytes:
    at = _at(value, one)
    return value[:at] + _LENGTHS[two % len(_LENGTHS)] + value[at + three % 2 :]


def _text(value: bytes, _: bytes, one: int, two: int, three: int) -> bytes:
    at, text = _at(value, one), _TEXTS[two % len(_TEXTS)]
    return value[:at] + text + value[at + len(text) :]


def _extreme(value: bytes, _: bytes, one: int, two: int, three: int) -> bytes:
    """Numbers, dates and times that no calendar has, where the bytes happen to be one."""
    at, number = _at(value, one), _EXTREMES[two % len(_EXTREMES)]
    return value[:at] + number + value[at + len(number) :]


def _deep(value: bytes, _: bytes, one: int, two: int, three: int) -> bytes:
    """Blocks in blocks: a body of counts alone."""
    return value[: _at(value, one)] + bytes([2, 4, 1, 0x7F][two % 4 :][:1]) * (three % 400)


def _bomb(value: bytes, _: bytes, one: int, two: int, three: int) -> bytes:
    """A few bytes that claim to be many items, of which some are there."""
    at, items = _at(value, one), three % 30_000 if two % 64 == 0 else three % 300
    return value[:at] + _LENGTHS[two % 3] + bytes([two % 3]) * items


def _frame(value: bytes, _: bytes, one: int, two: int, three: int) -> bytes | None:
    heads = (
        None, b"", value[: two % 5], b"\x07" + value[1:], UNKNOWN_ID + value[_HEAD:],
        b"\x01" + value[1:], b'{"id": 1}', b"\0" + value, two.to_bytes(4, "big") + value[4:],
    )  # fmt: skip
    return heads[one % len(heads)]


MUTATIONS: Final[dict[str, Mutation]] = {
    "flip": _flip, "byte": _byte, "cut": _cut, "insert": _insert, "delete": _delete,
    "splice": _splice, "schema": _schema, "length": _length, "text": _text,
    "extreme": _extreme, "deep": _deep, "bomb": _bomb, "frame": _frame,
}  # fmt: skip
_EVERY: Final = tuple(MUTATIONS.values())


def mutated(good: Sequence[bytes], rows: int, rng: Rng) -> list[bytes | None]:
    """Return so many payloads, each mutated once or twice."""
    picked = rng.integers(0, len(good), (rows, 2)).tolist()
    kinds = rng.integers(0, len(_EVERY), (rows, 2)).tolist()
    luck = rng.integers(0, 2**31 - 1, (rows, 6)).tolist()
    twice = (rng.random(rows) < 0.25).tolist()
    found = []
    for (one, other), (first, second), numbers, again in zip(
        picked, kinds, luck, twice, strict=True
    ):
        value = _EVERY[first](good[one], good[other], *numbers[:3])
        if again and value:
            value = _EVERY[second](value, good[other], *numbers[3:])
        found.append(value)
    return found
