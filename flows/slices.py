"""Slices: a flow as processes that know nothing of each other, each with partitions of its own."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flows.environment import PREFIX
from operators.errors import KnownError


class SliceError(KnownError):
    """A topic cannot be read by so many slices."""


@dataclass(frozen=True)
class Slice:
    """Which of a flow's slices a process is, from 0, of how many; one of one is the whole flow.

    It reads the partitions whose numbers leave its own when divided by how many there are, of
    every topic, has a recovery store of its own, and shares tables, topics and Redis' memory.
    """

    number: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Slice":
        """Return what 0/3 says; raises ValueError."""
        found = re.fullmatch(r"(\d{1,4})/(\d{1,4})", text)
        number, count = (int(each) for each in found.groups()) if found else (0, 0)
        if not number < count:
            raise ValueError(f"{text!r} is no slice: 0/3, 1/3 and 2/3 are those of three")
        return cls(number, count)

    def __str__(self) -> str:
        """Return it as it is set."""
        return f"{self.number}/{self.count}"

    def __bool__(self) -> bool:
        """Whether it is a part of the flow, and not all of it."""
        return self.count > 1

    def shared(
        self, topics: Mapping[str, Sequence[int]], led: str | None = None
    ) -> dict[str, Sequence[int]] | None:
        """Return of which partitions messages in a topic are its own, None where all are.

        `topics` are as of `of`; what is made of the topic `led` is for the first slice to send.
        """
        if not self:
            return None
        return {**topics, **({led: ()} if led is not None and self.number else {})}

    def of(self, topics: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
        """Return which partitions of topics it reads; raises SliceError if of one none."""
        found = {}
        for topic, partitions in topics.items():
            found[topic] = [p for p in partitions if p % self.count == self.number]
            if not found[topic]:
                raise SliceError(
                    f"{PREFIX}SLICE={self} has no partition of topic {topic}, which has "
                    f"{len(partitions)}: run at most as many slices, or add partitions"
                )
        return found
