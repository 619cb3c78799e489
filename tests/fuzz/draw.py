"""Draw: the bytes of an input as choices, so that whoever mutates bytes mutates choices."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Draw:
    """What is drawn of an input's bytes; behind their end there are zeros."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def some(self, size: int) -> bytes:
        found = self._data[self._at : self._at + size]
        self._at += size
        return found

    def number(self, size: int = 1) -> int:
        return int.from_bytes(self.some(size).ljust(size, b"\0"), "little")

    def one(self, choices: Sequence[T]) -> T:
        return choices[self.number() % len(choices)]

    def rest(self) -> bytes:
        return self.some(len(self._data))
